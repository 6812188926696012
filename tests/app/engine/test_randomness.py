"""The strategies' random states: theirs alone, saved and restored."""

import json
import random

import numpy as np
import pytest

from app.engine.randomness import StrategyRandomness


def draw(randomness: StrategyRandomness) -> tuple[list[int], float]:
    with randomness.active():
        return random.sample(range(100), 5), float(np.random.normal())


def test_equal_seeds_draw_equally_whatever_the_process_draws() -> None:
    left, right = StrategyRandomness(7), StrategyRandomness(7)
    first = [draw(left), draw(left)]
    second = [draw(right)]
    random.random()
    np.random.random()
    second.append(draw(right))
    assert first == second
    assert first[0] != first[1]


def test_the_process_own_generators_are_not_disturbed() -> None:
    random.seed(3)
    expected = random.random()
    random.seed(3)
    draw(StrategyRandomness(1))
    assert random.random() == expected


def test_saved_states_go_on_where_they_were() -> None:
    randomness = StrategyRandomness(7)
    draw(randomness)
    saved = json.loads(json.dumps(randomness.to_json()))
    expected = draw(randomness)
    other = StrategyRandomness(0)
    other.restore(saved)
    assert draw(other) == expected


@pytest.mark.parametrize("position", [-1, 625, 10**9])
def test_a_position_outside_the_generator_is_refused(position: int) -> None:
    randomness = StrategyRandomness(7)
    saved = json.loads(json.dumps(randomness.to_json()))
    saved["numpy"]["pos"] = position  # numpy takes it, and reads beyond its memory
    expected = draw(StrategyRandomness(7))
    with pytest.raises(ValueError, match="position"):
        randomness.restore(saved)
    assert draw(randomness) == expected
