from app.engine.polling import Backoff


def test_each_look_in_vain_makes_the_next_pause_half_as_long_again_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1.0, longest_s=3.0)
    assert [backoff.pause() for _ in range(5)] == [1.0, 1.5, 2.25, 3.0, 3.0]


def test_a_find_makes_the_pauses_short_again() -> None:
    backoff = Backoff(first_s=1.0, longest_s=3.0)
    backoff.pause()
    backoff.found()
    assert backoff.pause() == 1.0
