"""An app's own seeds stand, and what it leaves to chance comes from the run's seed, the client and the message."""

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict

from app.engine import flwr_compat
from constellation.app_randomness import ImportWatch, SeededClientApp, mix, seed_generators


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def seed_all_by_hand() -> None:
    random.seed(42)
    np.random.seed(42)
    torch.manual_seed(42)


def answers(importing: Callable[[], object], partition_id: int, number: int, seed: int = 1) -> tuple[float, ...]:
    """Draw in a ClientApp, in the state that `importing` and earlier messages left behind."""
    drawn: list[float] = []

    def app(message: Message, context: Context) -> Message:
        drawn.extend(draw())
        return message

    watch = ImportWatch(mix(seed, "import"))
    importing()
    seeded = SeededClientApp(app=app, seed=seed, own=watch.own_states())
    draw()
    flwr_compat.identify_process(1, 1)
    message = Message(RecordDict(), 5, "train")
    flwr_compat.assign_message_id(message, f"1-{partition_id}-{number}")
    seeded(message, Context(1, 5, {"partition-id": partition_id}, RecordDict(), {}))
    return tuple(drawn)


def test_the_same_message_draws_the_same_numbers_and_another_draws_others() -> None:
    first = answers(lambda: None, 0, 1)
    assert answers(lambda: None, 0, 1) == first
    for other in (answers(lambda: None, 1, 1), answers(lambda: None, 0, 2), answers(lambda: None, 0, 1, seed=2)):
        assert not set(other) & set(first)


def test_an_import_that_only_draws_does_not_count_as_seeding() -> None:
    assert answers(draw, 0, 1) == answers(lambda: None, 0, 1)


def test_each_message_begins_as_the_apps_own_seeding_left_it() -> None:
    seed_all_by_hand()
    expected = draw()
    assert answers(seed_all_by_hand, 0, 1) == expected
    assert answers(seed_all_by_hand, 3, 7, seed=9) == expected


def test_each_generator_is_judged_by_itself() -> None:
    chance, own = answers(lambda: None, 0, 1), answers(seed_all_by_hand, 0, 1)
    assert answers(lambda: random.seed(42), 0, 1) == (own[0], *chance[1:])
    assert answers(lambda: np.random.seed(42), 0, 1) == (chance[0], own[1], chance[2])
    assert answers(lambda: torch.manual_seed(42), 0, 1) == (*chance[:2], own[2])


def test_the_server_app_keeps_its_own_seeds_too() -> None:
    watch = ImportWatch(7)
    torch.manual_seed(42)
    expected = float(torch.rand(1))
    torch.manual_seed(42)
    seed_generators(11, watch.own_states())
    first = draw()
    assert first[2] == expected
    seed_generators(12, watch.own_states())
    assert draw()[:2] != first[:2]
