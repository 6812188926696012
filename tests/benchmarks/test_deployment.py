"""What the deployment benchmark makes of its laps."""

from __future__ import annotations

from benchmarks.deployment import summary


def test_rounds_are_medians_over_all_laps_and_the_rest_over_laps() -> None:
    laps = [
        {"rounds": [1.0, 2.0, 9.0], "cpu_s_per_round": 1.0, "rss_mb_per_client": 600.0, "pss_mb_per_client": 400.0},
        {"rounds": [3.0, 4.0], "cpu_s_per_round": 2.0, "rss_mb_per_client": 620.0, "pss_mb_per_client": 380.0},
    ]
    assert summary(laps) == {
        "round_s": 3.0,
        "cpu_s_per_round": 1.5,
        "rss_mb_per_client": 610.0,
        "pss_mb_per_client": 390.0,
    }
