"""Options that bound a round, and settings at the edge, each through a whole run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.zygote import Spawner
from constellation import simulation
from constellation.training import run
from monitor.sinks import read_events
from shared.config import RunConfig
from shared.errors import UsageError
from shared.events import Envelope, MemorySink, PhaseEnded, RunEnded, UpdateCapped, UpdateLate
from tests.constellation import persons_code

Small = Callable[..., RunConfig]
OWN = persons_code.__name__
LOADERS, NET = f"{OWN}:own_loaders", f"{OWN}:normalised_net"


def model_bytes(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_spawned_workers_come_to_the_bit_identical_model(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(num_rounds=2, model="cnn")
    forked = run(config)
    started: list[int] = []
    start_worker = Spawner.start_worker

    def counted(self: Spawner) -> object:
        started.append(1)
        return start_worker(self)

    monkeypatch.setattr(Spawner, "start_worker", counted)
    monkeypatch.setattr(simulation, "can_fork", lambda _: False)
    spawned = run(replace(config, workers=2))
    assert len(started) == 2
    assert model_bytes(spawned.output) == model_bytes(forked.output)
    assert (spawned.accuracy, spawned.updates_accepted) == (forked.accuracy, forked.updates_accepted)


def test_a_quorum_leaves_the_slow_behind(small: Small) -> None:
    sink = MemorySink()
    result = run(small(quorum=0.5, fraction_evaluate=0.0, workers=1), sinks=[sink])
    assert [(event.accepted, event.late) for event in sink.of_type(PhaseEnded)] == [(3, 3)] * 3
    assert (result.state, result.updates_accepted) == ("completed", 9)


def test_a_client_that_hangs_is_late_in_every_round_and_holds_up_nobody_else(small: Small) -> None:
    sink = MemorySink()
    config = small(dataset=f"{OWN}:last_client_hangs", num_clients=3, round_timeout_s=1.5, workers=2)
    result = run(replace(config, fraction_evaluate=0.0), sinks=[sink])
    assert [event.client for event in sink.of_type(UpdateLate)] == ["client-2"] * 3  # more rounds than workers
    assert (result.state, result.updates_accepted) == ("completed", 6)


def test_one_clients_share_can_be_bounded(small: Small) -> None:
    sink = MemorySink()
    capped = run(small(max_client_weight=0.2, alpha=0.1), sinks=[sink])
    assert {event.bound for event in sink.of_type(UpdateCapped)} == {"max-client-weight"}
    assert capped.updates_rejected == 0
    assert model_bytes(capped.output) != model_bytes(run(small(alpha=0.1)).output)


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"num_clients": 1, "workers": 1}, 3),
        ({"fraction": 0.0001}, 3),  # one client a round at the least
        ({"fraction_evaluate": 0.0}, 18),
        ({"workers": 8, "num_clients": 2}, 6),
    ],
)
def test_settings_at_the_edge_still_make_a_run(small: Small, changes: dict[str, object], accepted: int) -> None:
    result = run(small(**changes))
    assert (result.state, result.updates_accepted, result.updates_rejected) == ("completed", accepted, 0)
    assert result.accuracy is not None


def test_buffers_of_a_model_are_averaged_whatever_the_number_of_workers(small: Small) -> None:
    results = [run(small(model=NET, workers=workers, local_steps=0)) for workers in (1, 3)]
    assert model_bytes(results[0].output) == model_bytes(results[1].output)
    counter = results[0].arrays["2.num_batches_tracked"]
    assert counter.dtype == "int64"
    assert counter > 0
    assert results[0].updates_rejected == 0


def test_a_persons_loaders_need_no_common_test_set(small: Small) -> None:
    result = run(small(dataset=LOADERS, model=NET, num_clients=4, local_steps=0, num_rounds=6))
    assert (result.state, result.updates_rejected) == ("completed", 0)
    assert result.accuracy is not None  # the clients' mean
    assert result.accuracy > 0.6  # of three classes that are one standard deviation apart


def test_runs_in_threads_come_one_after_the_other(small: Small) -> None:
    first = run(small())
    refused: list[str] = []

    class Second:
        def write(self, envelope: Envelope) -> None:
            if envelope.event.type == "round-started" and not refused:
                with pytest.raises(UsageError, match="a run is under way in this process"):
                    run(small())
                refused.append("once")

        def close(self) -> None:
            pass

    with ThreadPoolExecutor(max_workers=1) as thread:
        second = thread.submit(run, small(), sinks=[Second()]).result()
    assert refused == ["once"]
    assert model_bytes(second.output) == model_bytes(first.output)


def test_baselines_without_a_common_test_set_are_refused_before_the_run(small: Small) -> None:
    config = small(dataset=LOADERS)
    with pytest.raises(UsageError, match="baselines need a central test set"):
        run(config, baselines=True)
    assert not Path(config.output).exists()


def test_a_strategy_with_a_mistake_ends_the_run_with_its_own_traceback_and_a_report(small: Small) -> None:
    config = small(strategy=f"{OWN}:Mistaken")
    with pytest.raises(TypeError, match="a mistake of its author"):
        run(config)
    (run_dir,) = Path(config.output).iterdir()
    last = [row for row in read_events(run_dir / "events.jsonl") if row["type"] == RunEnded.type][-1]
    assert (last["state"], last["error"]) == ("failed", "TypeError: a mistake of its author")
    assert "a mistake of its author" in (run_dir / "report.html").read_text()
