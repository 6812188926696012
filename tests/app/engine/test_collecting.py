"""When a phase is over."""

from app.engine.collecting import Collection


def collection(enough: int = 3) -> Collection:
    return Collection(expected={"a": 1, "b": 2, "c": 3}, deadline=10.0, enough=enough)


def test_a_phase_is_over_when_everybody_answered() -> None:
    phase = collection()
    assert phase.add("a", is_accepted=True)
    assert phase.add("b", is_accepted=False)
    assert not phase.is_over(now=0)
    assert phase.add("c", is_accepted=False)
    assert phase.is_over(now=0)
    assert phase.accepted == 1


def test_a_phase_is_over_when_enough_good_replies_are_in() -> None:
    phase = collection(enough=2)
    phase.add("a", is_accepted=False)
    phase.add("b", is_accepted=True)
    assert not phase.is_over(now=0)
    phase.add("c", is_accepted=True)
    assert phase.is_over(now=0)


def test_a_phase_is_over_at_its_deadline_and_names_who_is_missing() -> None:
    phase = collection()
    phase.add("b", is_accepted=True)
    assert not phase.is_over(now=9.999)
    assert phase.is_over(now=10.0)
    assert list(phase.missing) == ["a", "c"]
    assert phase.seconds_left(9.0) == 1.0
    assert phase.seconds_left(11.0) == 0.0


def test_a_reply_counts_once_and_a_strangers_never() -> None:
    phase = collection()
    assert phase.add("a", is_accepted=True)
    assert not phase.add("a", is_accepted=True)
    assert not phase.add("z", is_accepted=True)
    assert phase.accepted == 1


def test_a_phase_without_clients_is_over_at_once() -> None:
    assert Collection(expected={}, deadline=10.0, enough=1).is_over(now=0)
