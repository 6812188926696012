from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.tensorboard_sink import TensorBoardSink
from shared.events import Envelope, Event, ModelEvaluated, RunEnded, RunStarted

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

RUN = "20260727-101500-abcdef"


def started(first_round: int = 1, **config: str) -> RunStarted:
    return RunStarted(
        config={"model": "cnn", **config},
        first_round=first_round,
        clients=[],
        num_clients=1,
        num_parameters=1,
        workers=1,
    )


def evaluated(server_round: int, accuracy: float) -> ModelEvaluated:
    return ModelEvaluated(server_round=server_round, metrics={"accuracy": accuracy}, seconds=0.1)


def write(output: Path, events: Sequence[Event], ts: float = 100.0) -> None:
    sink = TensorBoardSink(output)
    for seq, event in enumerate(events, start=1):
        sink.write(Envelope(seq=seq, ts=ts + seq, run=RUN, event=event))
    sink.close()
    sink.close()


def read(output: Path) -> Any:
    accumulator = event_accumulator.EventAccumulator(str(output / RUN / "tensorboard"))
    accumulator.Reload()
    return accumulator


def points(accumulator: Any, tag: str) -> list[tuple[int, float]]:
    return [(scalar.step, pytest.approx(scalar.value)) for scalar in accumulator.Scalars(tag)]


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    write(tmp_path, [started(), evaluated(0, 0.1), evaluated(1, 0.5), evaluated(2, 0.75)])
    found = read(tmp_path)
    assert points(found, "central/accuracy") == [(0, 0.1), (1, 0.5), (2, 0.75)]
    assert [scalar.wall_time for scalar in found.Scalars("central/accuracy")] == [102.0, 103.0, 104.0]


def test_settings_and_end_are_texts_and_a_setting_cannot_end_its_table(tmp_path: Path) -> None:
    write(
        tmp_path,
        [started(attack="a|b`c\n| x |"), RunEnded(state="failed", rounds_completed=0, seconds=1.0, error="no")],
    )
    found = read(tmp_path)
    (settings,) = found.Tensors("settings")
    assert settings.tensor_proto.string_val[0].decode().splitlines()[2:] == [
        """| attack | `"a\\|b'c\\n\\| x \\|"` |""",
        '| model | `"cnn"` |',
    ]
    assert found.Tensors("end")[0].tensor_proto.string_val[0] == b"failed: no"
    assert found.SummaryMetadata("settings").plugin_data.plugin_name == "text"


def test_a_resumed_run_replaces_the_rounds_that_it_does_again(tmp_path: Path) -> None:
    write(tmp_path, [started(), evaluated(1, 0.1), evaluated(2, 0.2), evaluated(3, 0.3)])
    write(tmp_path, [started(first_round=2), evaluated(2, 0.6), evaluated(3, 0.7)], ts=200.0)
    assert points(read(tmp_path), "central/accuracy") == [(1, 0.1), (2, 0.6), (3, 0.7)]


def test_neither_torch_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from monitor.tensorboard_sink import TensorBoardSink;"
        "from shared.events import Envelope, ModelEvaluated; sink = TensorBoardSink(Path(sys.argv[1]));"
        "sink.write(Envelope(seq=1, ts=1.0, run='r', event=ModelEvaluated(server_round=1, metrics={'a': 1.0}, "
        "seconds=0.0))); sink.close(); sys.exit(any(name in sys.modules for name in ('torch', 'tensorflow', 'flwr')))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, check=False).returncode == 0
