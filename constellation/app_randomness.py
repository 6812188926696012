"""Whose seed counts when somebody's app runs: the app's own where it has one, and the run's everywhere else.

Flower starts a process for each message, which imports the app anew: an app that seeds a generator while it is
imported begins each message with that generator as the import left it. So it is here. The generators that the app
leaves to chance are seeded from the run's seed, the client and the number of the message: workers that are forked
from one process would otherwise all draw the same numbers, and results would depend on which worker did what.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import Context, Message

# We seed torch above this and people seed below it: so an app's own seed shows. Torch's seed of its own is random
# and has 53 bits.
_PEOPLES_SEEDS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnStates:
    """The generators that an app seeded while it was imported, as the import left them; None: left to chance."""

    python: Callable[[], None] | None
    numpy: Callable[[], None] | None
    torch: Callable[[], None] | None


class ImportWatch:
    """Sees which generators are seeded from now on."""

    def __init__(self, seed: int) -> None:
        seed_generators(seed)
        random.random()  # noqa: S311 - a first draw turns the state over; up to 600 more leave the compared words alone
        np.random.random()
        self._python, self._numpy = _python_words(), _numpy_words()

    def own_states(self) -> OwnStates:
        """Return the states of the generators that were seeded meanwhile."""
        python, numpy = random.getstate(), np.random.get_state()
        return OwnStates(
            python=None if _python_words() == self._python else lambda: random.setstate(python),
            numpy=None if _numpy_words() == self._numpy else lambda: np.random.set_state(numpy),
            torch=_own_torch_state(),
        )


def seed_generators(seed: int, own: OwnStates | None = None) -> None:
    """Seed Python's, numpy's and torch's global generators, or set those an app seeded as its import left them."""
    if own is not None and own.python is not None:
        own.python()
    else:
        random.seed(seed)
    if own is not None and own.numpy is not None:
        own.numpy()
    else:
        np.random.seed(seed % 2**32)
    if own is not None and own.torch is not None:
        own.torch()
    elif "torch" in sys.modules:  # never imported for this alone: it takes seconds
        sys.modules["torch"].manual_seed(_PEOPLES_SEEDS + seed)


def mix(*parts: object) -> int:
    """Return a seed of 52 bits for these parts, the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededClientApp:
    """A ClientApp that finds its generators seeded at each message."""

    app: Callable[[Message, Context], Message]
    seed: int
    own: OwnStates

    def __call__(self, message: Message, context: Context) -> Message:
        """Seed, then answer."""
        number = message.metadata.message_id.rpartition("-")[2]  # of this client's messages
        seed_generators(mix(self.seed, context.node_config["partition-id"], number), self.own)
        return self.app(message, context)


def _python_words() -> tuple[int, ...]:
    return tuple(random.getstate()[1][:-1])


def _numpy_words() -> bytes:
    state = np.random.get_state(legacy=False)
    return bytes(state["state"]["key"].tobytes())


def _own_torch_state() -> Callable[[], None] | None:
    torch = sys.modules.get("torch")
    if torch is None or torch.initial_seed() >= _PEOPLES_SEEDS:
        return None
    state = torch.get_rng_state()
    return lambda: torch.set_rng_state(state)
