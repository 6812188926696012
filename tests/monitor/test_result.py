import json
from pathlib import Path

from monitor.result import result_of
from monitor.rows import Row
from monitor.series import read_series

ROWS: list[Row] = [
    {"type": "run-started", "run": "r1", "ts": 10.0, "first-round": 1, "num-clients": 2, "clients": ["a", "b"],
     "config": {"engine": "local", "dataset": "d", "model": "m", "strategy": "s", "num-clients": 2, "num-rounds": 3}},
    {"type": "update-accepted", "server-round": 1, "phase": "train", "client": "a", "num-examples": 3, "metrics": {}},
    {"type": "update-rejected", "server-round": 1, "phase": "train", "client": "b", "reason": "norm"},
    {"type": "update-rejected", "server-round": 1, "phase": "evaluate", "client": "b", "reason": "replay"},
    {"type": "model-evaluated", "server-round": 1, "metrics": {"loss": 0.5, "accuracy": 0.75}, "seconds": 0.1},
    {"type": "round-closed", "server-round": 1, "seconds": 2.0, "model-digest": "d", "checkpoint-seconds": 0.1},
    {"type": "run-ended", "ts": 15.0, "state": "stopped", "rounds-completed": 1, "seconds": 5.0},
]  # fmt: skip


def test_the_result_is_one_flat_json_object() -> None:
    result = result_of(read_series(ROWS), Path("runs/r1"))
    assert json.loads(json.dumps(result)) == {
        "run_id": "r1", "state": "stopped", "engine": "local", "dataset": "d", "model": "m", "strategy": "s",
        "num_clients": 2, "num_rounds": 3, "rounds_completed": 1, "accuracy": 0.75, "loss": 0.5,
        "updates_accepted": 1, "updates_rejected": 1, "rejections": {"norm": 1}, "seconds_total": 5.0,
        "seconds_rounds": 2.0, "output": str(Path("runs/r1")),
    }  # fmt: skip
