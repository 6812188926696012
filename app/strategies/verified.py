"""``VerifiedStrategy``: any Flower strategy, given only replies that are signed, asked for, and of sane values.

Order of the checks: header and signature -> decode -> records, shapes, finite values, number of examples (each reply as
it comes); then norms and weights against the cohort; then the inner strategy, with the good replies sorted by client.
No reply can raise: one that is not good is left out, with a reason, and the round goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import Strategy

from app.engine.exchange import StopRequested
from app.engine.stages import MultiStage, Stage, has_stages
from app.strategies.gate import Gate, Verdict
from app.strategies.intake import ClientOf, Intake
from app.strategies.privacy import PrivacyTally
from app.strategies.requests import RequestSigner
from app.strategies.restore import restore_model
from app.strategies.validation import Layout, ValidationPolicy
from app.strategies.verification import EVALUATE, TRAIN, ReplySchema, WholeModel
from app.strategies.wrapper import StrategyWrapper, innermost
from shared.crypto.directory import KeyDirectory, MaxExamples
from shared.errors import ConfigError
from shared.events import Event, RunWaiting
from shared.parameters import schema_of

DEFAULT_WEIGHT_KEY = "num-examples"

# What a strategy raises when these replies cannot be aggregated (too few for Krum, weights that sum to 0). Anything
# else is a fault in the strategy's code and ends the run with its traceback.
_CANNOT_AGGREGATE = (AggregationError, InconsistentMessageReplies, ValueError, ArithmeticError)

_log = logging.getLogger(__name__)


class VerifiedStrategy(StrategyWrapper):
    """Verifies, validates, and only then lets the inner strategy aggregate."""

    def __init__(
        self,
        inner: Strategy,
        *,
        run_id: str,
        server_key: RSAPrivateKey | None = None,
        directory: KeyDirectory | None = None,
        policy: ValidationPolicy | None = None,
        emit: Callable[[Event], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        reply_schema: ReplySchema | None = None,
        require_signatures: bool = True,
        client_of: ClientOf | None = None,
        max_examples: MaxExamples | None = None,
        privacy: PrivacyTally | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Wrap a strategy.

        Args:
            inner: Any Flower strategy.
            run_id: Ours; it outlives a restart.
            server_key: Signs the requests.
            directory: Who may sign.
            policy: The cohort's bounds.
            emit: Where events go.
            now: The server's clock, for what is signed.
            reply_schema: What replies hold; by default the inner strategy's ``reply_schema``, else the whole model.
            require_signatures: Off, replies are still validated, and each node is taken for one client.
            client_of: The client at each node, where the engine knows; else a node's first valid reply tells.
            max_examples: The most training examples of a client whose enrollment names none.
            privacy: Judges and sums up what private clients say they spent; who has nothing left is not asked again.
            random_bytes: Makes nonces.

        Raises:
            ConfigError: Signatures are required, and the key or the directory is missing.
        """
        super().__init__(inner)
        if require_signatures and (server_key is None or directory is None):
            raise ConfigError("signatures are on: the strategy needs the server's key and a directory of clients' keys")
        signer = None
        if require_signatures and server_key is not None:
            signer = RequestSigner(run_id=run_id, key=server_key, now=now, random_bytes=random_bytes)
        weight_key = getattr(innermost(inner), "weighted_by_key", None)
        intake = Intake(
            directory=directory if require_signatures else None,
            client_of=client_of,
            max_examples=max_examples,
            privacy=privacy,
            weight_key=str(weight_key or DEFAULT_WEIGHT_KEY),
            needs_examples=weight_key is not None,
        )
        self._policy = policy or ValidationPolicy()
        self._privacy = privacy
        self._emit = emit
        self._gate = Gate(
            run_id=run_id,
            signer=signer,
            intake=intake,
            schema=reply_schema or getattr(inner, "reply_schema", None) or WholeModel(),
            policy=self._policy,
            emit=emit,
        )
        self.kept_because = ""  # why the last aggregation kept the old model, in one sentence

    # What a loop that knows more than Flower's own uses

    def begin_round(self, server_round: int, attempt: int) -> None:
        """Start a round; ``attempt`` counts its starts and must be on disk, so that it outlives a restart.

        A loop that does not call this (Flower's own) starts each round once, as attempt 1.
        """
        self._gate.begin_round(server_round, attempt)

    def receive(self, server_round: int, phase: str, reply: Message) -> Verdict:
        """Check one reply by itself, as it comes; all are handed in again to be aggregated.

        Asked again after that, this says what the reply was worth against the cohort.
        """
        return self._gate.receive(server_round, phase, reply)

    @property
    def num_accepted(self) -> Mapping[str, int]:
        """How many replies passed the checks against the whole cohort too, by phase of this round."""
        return self._gate.num_accepted

    def name_at(self, node_id: int) -> str:
        """Return what to call whoever is at this node: a client's id once a valid reply told, ``node-<id>`` before."""
        return self._gate.name_at(node_id)

    def state_dict(self) -> dict[str, object]:
        """Return what the next round's judgement depends on; nodes are bound anew after a restart."""
        return {"usual-layouts": dict(self._gate.usual_layouts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Layout]], /) -> None:
        """Go on from what ``state_dict`` returned."""
        self._gate.usual_layouts = dict(state["usual-layouts"])

    # Flower's strategy

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose, and sign what it sends.

        Raises:
            StopRequested: The privacy budget of too many clients is spent for any further round.
        """
        remaining = self._remaining(grid)
        if remaining is None:
            self._emit(RunWaiting(reason="the run ends: too few clients have any privacy budget left"))
            raise StopRequested
        messages = self.inner.configure_train(server_round, arrays, config, remaining)
        return self._gate.seal(server_round, TRAIN, messages, arrays)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the good replies; no arrays when there are too few, or the inner strategy cannot."""
        self.kept_because = ""
        good = self._gate.good_replies(server_round, TRAIN, replies)
        if self._privacy is not None and (spent := self._privacy.event(server_round)) is not None:
            self._emit(spent)
        asked = self._gate.asked(server_round, TRAIN)
        if asked is None or len(good) < self._policy.min_valid:
            self._keep_model(server_round, f"{len(good)} good updates, min-valid is {self._policy.min_valid}")
            return None, None
        try:
            arrays, metrics = self.inner.aggregate_train(server_round, good)
            if arrays is not None:
                arrays = restore_model(arrays, schema_of(asked.model))
        except _CANNOT_AGGREGATE as error:
            self._keep_model(server_round, f"{type(self.inner).__name__} cannot aggregate: {error}")
            return None, None
        if arrays is None:
            self._keep_model(server_round, f"{type(self.inner).__name__} made no model of {len(good)} updates")
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose, and sign what it sends."""
        remaining = self._remaining(grid)
        if remaining is None:
            return []
        messages = self.inner.configure_evaluate(server_round, arrays, config, remaining)
        return self._gate.seal(server_round, EVALUATE, messages, arrays)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the good replies; nothing when there are none, or the inner strategy cannot."""
        good = self._gate.good_replies(server_round, EVALUATE, replies)
        if not good:
            return None
        try:
            return self.inner.aggregate_evaluate(server_round, good)
        except _CANNOT_AGGREGATE as error:
            _log.warning("round %d: %s cannot aggregate metrics: %s", server_round, type(self.inner).__name__, error)
            return None

    # Strategies of several stages (app.engine.stages)

    def stages(self, server_round: int) -> Sequence[Stage]:
        """Return the inner strategy's stages before training; most have none."""
        return self.inner.stages(server_round) if has_stages(self.inner) else ()

    def configure_stage(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Let the inner strategy choose, and sign what it sends."""
        messages = _staged(self.inner).configure_stage(
            stage, server_round, arrays, config, self._remaining(grid) or grid
        )
        return self._gate.seal(server_round, stage.phase, messages, arrays)

    def finish_stage(self, stage: Stage, server_round: int, replies: Sequence[Message]) -> None:
        """Hand the good replies of a stage to the inner strategy."""
        good = self._gate.good_replies(server_round, stage.phase, replies)
        _staged(self.inner).finish_stage(stage, server_round, good)

    def _remaining(self, grid: Grid) -> Grid | None:
        return grid if self._privacy is None else self._privacy.remaining(grid, self._gate.name_at)

    def _keep_model(self, server_round: int, why: str) -> None:
        self.kept_because = f"round {server_round} keeps the old model: {why}"
        _log.warning("%s", self.kept_because)


def _staged(strategy: Strategy) -> MultiStage:
    if not has_stages(strategy):
        raise TypeError(f"{type(strategy).__name__} has no stages")
    return strategy
