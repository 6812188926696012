"""Runs are started, steered, watched, taken over and brought to an end: with real processes and a real store."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from app.control import processes
from app.control.importer import Importer
from app.control.launcher import Launcher
from app.control.queueing import HELD
from app.control.stopping import Grace
from app.control.supervisor import LIVING, RunSupervisor
from app.engine.control import Desired, write_control
from app.storage.store import Store
from app.storage.values import RunSource
from app.storage.views import RunView
from monitor.sinks import last_seq, read_events
from shared.errors import ConfigError, Conflict, NotFound, UsageError
from tests.sweeping import sweep

FAKE = Path(__file__).with_name("fake_run.py")
ROOT = Path(__file__).resolve().parents[3]
FEW = {"num-rounds": 2}
MANY = {"num-rounds": 100_000}


def command(mode: str) -> Callable[[Path], list[str]]:
    return lambda run_dir: [sys.executable, str(FAKE), mode, str(run_dir)]


@dataclass
class Machine:
    """A store, a folder, and supervisors over them, one after the other."""

    store: Store
    output: Path
    now: float = 0.0
    made: list[RunSupervisor] = field(default_factory=list)

    def supervisor(self, mode: str = "rounds", **changes: object) -> RunSupervisor:
        self.importer = Importer(self.store, self.output)
        launcher = Launcher(command(mode), environment={**os.environ, "PYTHONPATH": str(ROOT)})
        made = RunSupervisor(
            self.store,
            self.output,
            launcher,
            self.importer,
            clock=lambda: self.now,
            **changes,  # type: ignore[arg-type]
        )
        self.made.append(made)
        return made

    def until(self, run_id: str, *states: str) -> RunView:
        """Look after the runs until one is in a state."""
        return self.when(lambda: self.store.run(run_id).state in states, run_id)

    def when(self, is_so: Callable[[], bool], run_id: str) -> RunView:
        while not is_so():
            self.made[-1].tick()
            self.importer.catch_up(run_id, Path(self.store.run_process(run_id).run_dir))
        return self.store.run(run_id)

    def process(self, run_id: str) -> psutil.Process:
        return psutil.Process(self.store.run_process(run_id).pid)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Store.open(f"sqlite:///{tmp_path}/store.db", str(tmp_path / "objects")) as store:
        made = Machine(store, tmp_path / "runs")
        try:
            yield made
        finally:
            sweep(tmp_path)  # whatever the store thinks of them
            for supervisor in made.made:
                supervisor.close()


def test_a_run_is_made_started_and_seen_to_its_end(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run = supervisor.create(FEW, "first")
    assert (run.state, run.name, run.origin, run.num_rounds) == ("starting", "first", "dashboard", 2)
    process = machine.process(run.run_id)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    ended = machine.until(run.run_id, "completed")
    assert (ended.rounds_completed, ended.error) == (2, "")
    folder = machine.output / run.run_id
    assert {"config.toml", "events.jsonl", "run.log"} <= {path.name for path in folder.iterdir()}
    (model,) = machine.when(lambda: bool(models(machine, run.run_id)), run.run_id) and models(machine, run.run_id)
    assert model == "round 2"


def models(machine: Machine, run_id: str) -> list[str]:
    stored = machine.store.models(run_id).items
    return [f"round {model.server_round}" for model in stored if model.size_bytes is not None]


def test_settings_that_cannot_be_make_nothing(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="num-rounds must be at least 1"):
        machine.supervisor().create({"num-rounds": 0})
    assert machine.store.runs().items == ()
    assert not machine.output.exists()


def test_the_dashboards_folder_is_the_runs_whatever_was_asked(machine: Machine, tmp_path: Path) -> None:
    run = machine.supervisor().create({**FEW, "output": str(tmp_path / "elsewhere")}, start=False)
    assert (machine.output / run.run_id / "config.toml").is_file()
    assert not (tmp_path / "elsewhere").exists()
    assert machine.store.config(run.run_id)["output"] == str(machine.output)


def test_an_output_that_cannot_be_written_is_one_sentence(machine: Machine) -> None:
    machine.output.write_text("")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        machine.supervisor().create(FEW)


def test_one_run_at_a_time_and_the_others_are_told_why(machine: Machine) -> None:
    supervisor = machine.supervisor()
    first, second = supervisor.create(MANY), supervisor.create(FEW)
    assert second.state == "queued"
    assert second.reason == f"waits for run {first.run_id} to end (1 run at a time); number 1 in the queue"
    with pytest.raises(Conflict, match=r"in the queue already: waits for run"):
        supervisor.start(second.run_id)
    machine.until(first.run_id, "running")
    supervisor.stop(first.run_id)
    machine.until(first.run_id, "stopped")
    machine.until(second.run_id, "completed")


def test_as_many_as_are_allowed_run_at_once(machine: Machine) -> None:
    supervisor = machine.supervisor(max_running=2)
    states = [supervisor.create(MANY).state for _ in range(3)]
    assert states == ["starting", "starting", "queued"]


def test_a_run_that_is_held_starts_when_it_is_told_to(machine: Machine) -> None:
    supervisor = machine.supervisor()
    held = supervisor.create(FEW, start=False)
    assert (held.state, held.reason) == ("queued", HELD)
    supervisor.tick()
    assert machine.store.run(held.run_id).state == "queued"
    assert supervisor.start(held.run_id).state == "starting"
    machine.until(held.run_id, "completed")


def test_a_queued_run_can_be_held_back_and_taken_out(machine: Machine) -> None:
    supervisor = machine.supervisor()
    first, second = supervisor.create(MANY), supervisor.create(FEW)
    assert supervisor.pause(second.run_id).reason == HELD
    with pytest.raises(Conflict, match="paused already"):
        supervisor.pause(second.run_id)
    assert "waits for" in supervisor.resume(second.run_id).reason
    assert supervisor.stop(second.run_id).state == "stopped"
    assert first.state == "starting"


def test_pause_and_resume_take_effect_at_the_next_phase(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create(MANY).run_id
    machine.until(run_id, "running")
    asked = supervisor.pause(run_id)
    assert (asked.state, asked.desired_state) == ("running", "pause")
    assert asked.reason.startswith("pauses after this phase")
    with pytest.raises(Conflict, match="paused already, or will be"):
        supervisor.pause(run_id)
    paused = machine.until(run_id, "paused")
    assert set(paused.actions) == {"resume", "stop"}
    assert supervisor.resume(run_id).desired_state == "run"
    machine.until(run_id, "running")
    with pytest.raises(Conflict, match="is not paused: it is running"):
        supervisor.resume(run_id)


def test_a_stopped_run_goes_on_to_its_end(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create({"num-rounds": 40}).run_id
    supervisor.pause(run_id)
    machine.until(run_id, "paused")
    assert supervisor.stop(run_id).state == "stopping"
    with pytest.raises(Conflict, match=r"stopping already; it is ended by force in \d+ s"):
        supervisor.stop(run_id)
    for action in (supervisor.pause, supervisor.resume, supervisor.start):
        with pytest.raises(Conflict):
            action(run_id)
    stopped = machine.until(run_id, "stopped")
    assert stopped.rounds_completed < 40
    with pytest.raises(Conflict, match="cannot stop: it is stopped"):
        supervisor.stop(run_id)
    goes_on(machine, supervisor, run_id)
    assert machine.until(run_id, "completed").rounds_completed == 40
    with pytest.raises(Conflict, match="is complete"):
        supervisor.resume(run_id)
    with pytest.raises(Conflict, match="cannot pause: it is completed"):
        supervisor.pause(run_id)


def goes_on(machine: Machine, supervisor: RunSupervisor, run_id: str) -> None:
    """Resume once the process of the start before is gone: it holds the folder until then."""
    pid = machine.store.run_process(run_id).pid
    assert pid is not None
    while psutil.pid_exists(pid):
        supervisor.tick()
    supervisor.resume(run_id)


def test_nobody_can_steer_a_run_that_does_not_exist(machine: Machine) -> None:
    supervisor = machine.supervisor()
    for action in (supervisor.start, supervisor.pause, supervisor.resume, supervisor.stop):
        with pytest.raises(NotFound):
            action("nothing")
    with pytest.raises(NotFound):
        supervisor.log_lines("nothing", 5)


def test_a_run_that_fails_at_its_start_says_why(machine: Machine) -> None:
    supervisor = machine.supervisor("fails")
    run_id = supervisor.create(FEW).run_id
    failed = machine.until(run_id, "failed")
    assert failed.error == "there is no data for this run"
    assert supervisor.log_lines(run_id, 1) == ["error: there is no data for this run"]
    machine.supervisor("rounds").resume(run_id)  # the data is there by now
    assert machine.until(run_id, "completed").error == ""


def test_a_command_that_is_not_there_fails_the_run_and_frees_its_place(machine: Machine) -> None:
    made = RunSupervisor(
        machine.store, machine.output, Launcher(lambda _: ["/nothing"]), Importer(machine.store, machine.output)
    )
    machine.made.append(made)
    assert made.create(FEW).state == "failed"
    run = made.create(FEW)
    assert (run.state, run.error) == ("failed", "the run's process cannot be started: No such file or directory")


def test_a_run_that_was_killed_is_interrupted_and_goes_on(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create({"num-rounds": 40}).run_id
    supervisor.pause(run_id)
    machine.until(run_id, "paused")
    machine.process(run_id).kill()
    killed = machine.until(run_id, "interrupted")
    assert "SIGKILL" in killed.reason
    assert killed.actions == ("resume",)
    supervisor.resume(run_id)
    assert machine.until(run_id, "completed").rounds_completed == 40
    seqs = [row["seq"] for row in read_events(machine.output / run_id / "events.jsonl")]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_run_outlives_its_supervisor_and_is_taken_over(machine: Machine) -> None:
    run_id = machine.supervisor().create({"num-rounds": 60}).run_id
    pid = machine.store.run_process(run_id).pid
    machine.made.pop().close()
    after = machine.supervisor()
    after.adopt()
    assert machine.store.run(run_id).state in LIVING
    assert machine.store.run_process(run_id).pid == pid
    assert machine.until(run_id, "completed").rounds_completed == 60


def test_what_died_meanwhile_is_interrupted_and_what_ended_has_ended(machine: Machine) -> None:
    supervisor = machine.supervisor(max_running=2)
    dead, ended = supervisor.create(MANY).run_id, supervisor.create({"num-rounds": 3}).run_id
    machine.until(dead, "running")
    processes_ = [machine.process(dead), machine.process(ended)]
    machine.made.pop().close()
    processes_[0].kill()
    psutil.wait_procs(processes_)
    machine.supervisor().adopt()
    assert machine.store.run(dead).state == "interrupted"
    assert machine.store.run(ended).state == "completed"


def test_a_run_started_just_before_we_died_is_found_by_its_command(machine: Machine) -> None:
    run_id = machine.supervisor().create(MANY).run_id
    machine.until(run_id, "running")
    machine.store.set_run(run_id, state="starting", pid=0, create_time=0.0)  # as if we never wrote it down
    machine.supervisor().adopt()
    assert machine.store.run(run_id).state == "starting"


def test_another_machines_runs_are_not_ours_to_judge(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create(FEW, start=False).run_id
    machine.store.set_run(run_id, state="running", desired_state="run", pid=1, create_time=1.0, host="elsewhere")
    supervisor.tick()
    assert machine.store.run(run_id).state == "running"
    for action in (supervisor.pause, supervisor.stop):
        with pytest.raises(Conflict, match="elsewhere; steer it there"):
            action(run_id)


def test_a_deaf_run_is_killed_with_its_workers(machine: Machine) -> None:
    supervisor = machine.supervisor("deaf", grace=Grace(asked_s=20, interrupted_s=10, terminated_s=10))
    run_id = supervisor.create(FEW).run_id
    child_file = machine.output / run_id / "child"
    machine.when(child_file.exists, run_id)
    machine.when(lambda: bool(child_file.read_text()), run_id)
    child = psutil.Process(int(child_file.read_text()))
    supervisor.stop(run_id)
    for now in (19.0, 20.0, 30.0):  # asked, interrupted, told: it hears nothing
        machine.now = now
        supervisor.tick()
        assert machine.process(run_id).is_running()
    assert "SIGTERM" in machine.store.run(run_id).reason
    machine.now = 40.0
    stopped = machine.until(run_id, "stopped")
    assert "by force" in stopped.reason
    child.wait(60)


def test_a_run_whose_folder_is_full_is_interrupted_instead_of_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = machine.supervisor("interruptible")
    run_id = supervisor.create(FEW).run_id
    machine.until(run_id, "running")

    def full(_run_dir: Path, _desired: Desired) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.control.supervisor.write_control", full)
    with pytest.raises(Exception, match="No space left on device"):
        supervisor.pause(run_id)
    supervisor.stop(run_id)
    assert machine.until(run_id, "interrupted").state == "interrupted"


def test_what_a_killed_run_leaves_behind_is_ended(machine: Machine) -> None:
    supervisor = machine.supervisor("deaf")
    run_id = supervisor.create(FEW).run_id
    child_file = machine.output / run_id / "child"
    machine.when(lambda: child_file.exists() and bool(child_file.read_text()), run_id)
    child = psutil.Process(int(child_file.read_text()))
    machine.until(run_id, "running")
    machine.process(run_id).kill()
    machine.until(run_id, "interrupted")
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        supervisor.tick()


def test_a_run_from_a_terminal_is_steered_through_its_folder(machine: Machine) -> None:
    supervisor = machine.supervisor()
    folder = machine.output / "from-a-terminal"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("num-rounds = 100000\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(FAKE), "rounds", str(folder)], env=environment) as process:
        identity = processes.identify(process.pid)
        assert identity is not None
        source = RunSource(
            run_dir=str(folder), pid=process.pid, create_time=identity.create_time, host=processes.this_host()
        )
        while not (folder / "events.jsonl").exists() or not last_seq(folder / "events.jsonl"):
            pass
        machine.store.ingest("from-a-terminal", [next(read_events(folder / "events.jsonl"))], source)
        queued = supervisor.create(FEW)
        assert "waits for run from-a-terminal" in queued.reason
        supervisor.pause("from-a-terminal")
        machine.until("from-a-terminal", "paused")
        supervisor.stop("from-a-terminal")
        machine.until("from-a-terminal", "stopped")
        assert process.wait(60) == 0
    machine.until(queued.run_id, "completed")


def test_the_stop_of_the_last_start_does_not_stop_the_next(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create(FEW, start=False).run_id
    write_control(machine.output / run_id, Desired.STOP)
    supervisor.start(run_id)
    assert machine.until(run_id, "completed", "stopped").state == "completed"


def test_a_run_without_its_folder_cannot_go_on(machine: Machine) -> None:
    supervisor = machine.supervisor()
    run_id = supervisor.create(FEW, start=False).run_id
    for path in (machine.output / run_id).iterdir():
        path.unlink()
    (machine.output / run_id).rmdir()
    with pytest.raises(Conflict, match="has no folder any more"):
        supervisor.start(run_id)


def test_a_pid_that_is_somebody_elses_by_now_is_not_touched(machine: Machine) -> None:
    supervisor = machine.supervisor(grace=Grace(asked_s=0, interrupted_s=0, terminated_s=0))
    run_id = supervisor.create(FEW, start=False).run_id
    here = processes.this_host()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        machine.store.set_run(
            run_id,
            state="stopping",
            desired_state="stop",
            pid=bystander.pid,
            create_time=1.0,
            host=here,
        )
        supervisor.tick()
        assert machine.store.run(run_id).state == "stopped"
        assert bystander.poll() is None
        bystander.send_signal(signal.SIGKILL)
