"""What a client says of its privacy: read whole or not at all, whatever it says."""

from __future__ import annotations

import math

import pytest

from shared.privacy.reply import ClientPrivacy, privacy_in

SAID = ClientPrivacy(epsilon=2.0, delta=1e-5, accountant="rdp", noise_multiplier=1.1, sample_rate=0.1, steps=40)


def test_what_a_client_says_is_read_as_it_was_written() -> None:
    assert privacy_in(SAID.to_metrics()) == SAID


@pytest.mark.parametrize("key", sorted(SAID.to_metrics()))
def test_half_of_it_is_nothing(key: str) -> None:
    assert privacy_in({name: value for name, value in SAID.to_metrics().items() if name != key}) is None


@pytest.mark.parametrize("steps", [0, -1, 1e300, math.inf, -math.inf, math.nan])
def test_steps_that_nobody_can_have_taken_are_no_answer_and_no_exception(steps: float) -> None:
    assert privacy_in(SAID.to_metrics() | {"dp-steps": steps}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epsilon", -1), ("epsilon", math.nan), ("epsilon", math.inf), ("delta", 0), ("delta", 1), ("sample-rate", 1.1),
        ("noise-multiplier", 0), ("noise-multiplier", math.inf),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_no_answer(key: str, value: float) -> None:
    assert privacy_in(SAID.to_metrics() | {key: value}) is None
