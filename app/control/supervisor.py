"""Starts runs, steers them and says what became of them; a run outlives whoever watches it.

Runs are processes in sessions of their own. They are steered by the control file in their folder, which takes effect at
the next phase, and they report their events themselves. What only the supervisor knows is written down here: who waits
in the queue and why, which process a run is, and that a process is gone. After a restart ``adopt`` finds the living
ones again by pid and start time.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from app import run_lock
from app.control import processes, run_log
from app.control.config_check import check_config, without_dashboards_own
from app.control.endings import Evidence, judge
from app.control.importer import Importer
from app.control.launcher import Launcher
from app.control.processes import ProcessId
from app.control.queueing import HELD, Waiting, plan
from app.control.stopping import Grace, Measure, Stopping
from app.engine.control import Desired, write_control
from app.run_folder import create_run_dir, new_run_id
from app.storage.store import Store
from app.storage.values import RunProcess
from app.storage.views import RunView, Scalar
from shared.errors import Conflict, ConstellationError, RunFailed

_log = logging.getLogger(__name__)

LIVING = frozenset({"starting", "running", "paused", "stopping"})
ENDED_EARLY = frozenset({"stopped", "failed", "interrupted"})
_PAGE = 200  # runs of the queue asked for at once
_SIGNALS = {Measure.INTERRUPT: signal.SIGINT, Measure.TERMINATE: signal.SIGTERM}


class RunSupervisor:
    """Runs as a service over the store. Its methods may be called from any thread.

    Args:
        store: Where runs are written down.
        output: The folder that gets one folder a run.
        launcher: Starts processes.
        importer: Brings events into the store that a run could not report any more.
        max_running: How many runs may be under way at once, those started in terminals among them.
        grace: How long a run that was asked to stop gets.
        clock: Seconds, never going back.
        on_changed: Told of each run whose state or wish was written down, to be shown.
    """

    def __init__(
        self,
        store: Store,
        output: Path,
        launcher: Launcher,
        importer: Importer,
        *,
        max_running: int = 1,
        grace: Grace | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_changed: Callable[[str], None] = lambda _run_id: None,
    ) -> None:
        self._store = store
        self._output = output
        self._launcher = launcher
        self._importer = importer
        self._max_running = max_running
        self._grace = grace or Grace()
        self._clock = clock
        self._on_changed = on_changed
        self._host = processes.this_host()
        self._lock = threading.RLock()
        self._stopping: dict[str, Stopping] = {}
        self._watched: dict[str, RunProcess] = {}  # living at the last look

    def create(self, config: Mapping[str, Scalar], name: str = "", start: bool = True) -> RunView:
        """Make a run, and start it when its turn comes.

        Raises:
            ConfigError: A setting cannot be used.
            UsageError: The run's folder cannot be made.
        """
        settings = check_config({**without_dashboards_own(config), "output": str(self._output)})
        run_dir = create_run_dir(settings, new_run_id())
        with self._lock:
            self._store.create_run(
                run_dir.name, settings.as_flat(), name=name, origin="dashboard", run_dir=str(run_dir.resolve())
            )
            self._set(run_dir.name, desired_state="run" if start else "pause", reason="" if start else HELD)
            self._fill()
            return self._store.run(run_dir.name)

    def start(self, run_id: str) -> RunView:
        """Start a run that was held back, or go on with one that ended early.

        Raises:
            NotFound: There is no such run.
            Conflict: It is under way, queued or complete.
        """
        with self._lock:
            run = self._store.run_process(run_id)
            if run.state in LIVING:
                raise Conflict(f"run {run_id} is under way already ({run.state})")
            if run.state == "queued" and run.desired_state != "pause":
                raise Conflict(f"run {run_id} is in the queue already: {self._store.run(run_id).reason}")
            return self._enqueue(run)

    def pause(self, run_id: str) -> RunView:
        """Let a run pause at its next phase, or hold it back in the queue.

        Raises:
            NotFound: There is no such run.
            Conflict: It is paused already, or not under way.
        """
        with self._lock:
            run = self._store.run_process(run_id)
            if run.desired_state == "pause" and run.state in LIVING | {"queued"}:
                raise Conflict(f"run {run_id} is paused already, or will be at the next phase")
            if run.state == "queued":
                return self._set(run_id, desired_state="pause", reason=HELD)
            if run.state not in LIVING - {"stopping"}:
                raise Conflict(f"run {run_id} cannot pause: it is {run.state}")
            self._tell(run, Desired.PAUSE)
            return self._set(run_id, desired_state="pause")

    def resume(self, run_id: str) -> RunView:
        """Let a paused run go on; a run that ended early goes on from its last checkpoint.

        Raises:
            NotFound: There is no such run.
            Conflict: There is nothing to go on with.
        """
        with self._lock:
            run = self._store.run_process(run_id)
            if run.state not in LIVING:
                return self.start(run_id)
            if run.state == "stopping" or run.desired_state != "pause":
                raise Conflict(f"run {run_id} is not paused: it is {run.state}")
            self._tell(run, Desired.RUN)
            return self._set(run_id, desired_state="run", reason="")

    def stop(self, run_id: str) -> RunView:
        """Let a run stop at its next phase; a run that does not is ended by force after a while.

        Raises:
            NotFound: There is no such run.
            Conflict: It is stopping already, or has ended.
        """
        with self._lock:
            run = self._store.run_process(run_id)
            if run.state == "queued":
                return self._set(run_id, state="stopped", desired_state="stop", reason="taken out of the queue")
            if run.state == "stopping":
                left = self._stopping_of(run_id).seconds_to_force(self._clock())
                raise Conflict(f"run {run_id} is stopping already; it is ended by force in {left:.0f} s at the latest")
            if run.state not in LIVING:
                raise Conflict(f"run {run_id} cannot stop: it is {run.state}")
            self._stopping[run_id] = Stopping(self._clock(), self._grace, is_asked=self._can_ask_to_stop(run))
            return self._set(run_id, state="stopping", desired_state="stop")

    def log_lines(self, run_id: str, num_lines: int) -> list[str]:
        """Return the last lines that a run printed; a run from a terminal printed them there.

        Raises:
            NotFound: There is no such run.
        """
        return run_log.tail(Path(self._store.run_process(run_id).run_dir), num_lines)

    def adopt(self) -> None:
        """Take over what an earlier supervisor left: the living go on, the dead are written down as such."""
        self.tick()

    def tick(self) -> None:
        """Look after all runs once: what ended, what has to be pressed to stop, what may start."""
        living = {run.run_id: run for run in self._store.living_runs()}
        gone = [run for run in living.values() if not self._is_there(run)]
        for run in gone:
            self._importer.catch_up(run.run_id, Path(run.run_dir))  # its last event may say how it ended
        with self._lock:
            for run in gone:
                self._guarded(run.run_id, self._settle)
            for run_id in [run_id for run_id in self._stopping if run_id not in living]:
                del self._stopping[run_id]
            for run in living.values():
                if run.state == "stopping" and run.host == self._host:
                    self._guarded(run.run_id, self._press)
            self._fill()
        self._look_after_ended(living)

    def close(self) -> None:
        """Let go of the runs; they go on without us."""
        self._launcher.close()

    def _set(self, run_id: str, **changes: str | float | None) -> RunView:
        view = self._store.set_run(run_id, **changes)  # type: ignore[arg-type] # each change is what its name takes
        self._on_changed(run_id)
        return view

    def _guarded(self, run_id: str, do: Callable[[str], None]) -> None:
        try:
            do(run_id)
        except ConstellationError as error:
            _log.warning("run %s: %s", run_id, error)  # the other runs are looked after all the same

    def _enqueue(self, run: RunProcess) -> RunView:
        if run.state == "completed":
            raise Conflict(f"run {run.run_id} is complete; make a new run with its settings")
        if run.host not in ("", self._host):
            raise Conflict(f"run {run.run_id} ran on {run.host}; go on with it there")
        run_dir = Path(run.run_dir)
        if not run_dir.is_dir():
            raise Conflict(f"run {run.run_id} has no folder any more ({run_dir}); make a new run with its settings")
        if run_lock.is_held(run_dir):
            raise Conflict(f"run {run.run_id} is under way in a process that the dashboard does not know")
        self._set(run.run_id, state="queued", desired_state="run", reason="", error="")
        self._fill()
        return self._store.run(run.run_id)

    def _fill(self) -> None:
        """Start what may start, and say why the rest waits."""
        queued = self._queued()
        if not queued:
            return
        living = [run.run_id for run in self._store.living_runs() if run.host in ("", self._host)]
        waiting = [Waiting(run_id=view.run_id, is_held=view.desired_state == "pause") for view in queued]
        decided = plan(waiting, living, self._max_running)
        for run_id in decided.start:
            self._guarded(run_id, self._launch)
        for view in queued:
            reason = decided.reasons.get(view.run_id)
            if reason is not None and reason != view.reason:
                self._set(view.run_id, reason=reason)

    def _queued(self) -> list[RunView]:
        """List the queue, the run that waits longest first."""
        found: list[RunView] = []
        cursor: str | None = None
        while True:
            page = self._store.runs(state="queued", sort="created", limit=_PAGE, cursor=cursor)
            # A run that somebody else reports, and that has not begun yet, is theirs to start.
            found += [view for view in page.items if view.origin == "dashboard" or view.started_ts is not None]
            if (cursor := page.next_cursor) is None:
                return found

    def _launch(self, run_id: str) -> None:
        run_dir = Path(self._store.run_process(run_id).run_dir)
        # Written down first: should we die now, whoever adopts it finds the process by its command line.
        self._set(run_id, state="starting", pid=0, create_time=0.0, host=self._host)
        try:
            self._tell_folder(run_dir, Desired.RUN)  # the "stop" of an earlier start would stop it at once
            identity = self._launcher.start(run_dir)
        except ConstellationError as error:
            self._set(run_id, state="failed", reason="", error=str(error))
            return
        self._set(run_id, pid=identity.pid, create_time=identity.create_time)

    def _tell(self, run: RunProcess, desired: Desired) -> None:
        if run.host not in ("", self._host):
            raise Conflict(f"run {run.run_id} is under way on {run.host}; steer it there")
        self._tell_folder(Path(run.run_dir), desired)

    def _tell_folder(self, run_dir: Path, desired: Desired) -> None:
        try:
            write_control(run_dir, desired)
        except OSError as error:
            raise RunFailed(
                f"the run cannot be told: {run_dir} cannot be written: {error.strerror or error}; free the disk or "
                "fix its rights"
            ) from error

    def _can_ask_to_stop(self, run: RunProcess) -> bool:
        """Ask through the control file; on a full disk a signal does it."""
        try:
            self._tell(run, Desired.STOP)
        except RunFailed as error:
            _log.warning("run %s: %s; it is interrupted instead", run.run_id, error)
            return False
        return True

    def _is_there(self, run: RunProcess) -> bool:
        """Tell whether somebody works on the run; what another machine does is not ours to say."""
        if run.host not in ("", self._host):
            return True
        if run.pid:
            return processes.is_alive(ProcessId(pid=run.pid, create_time=run.create_time or 0.0))
        return bool(run_lock.is_held(Path(run.run_dir))) or processes.find_by_argument(run.run_dir) is not None

    def _settle(self, run_id: str) -> None:
        """Write down how a run ended whose process is gone and whose events do not say it."""
        run = self._store.run_process(run_id)
        if run.state not in LIVING or self._is_there(run):
            return
        ending = judge(
            Evidence(
                exit_code=self._launcher.exit_code(run.pid or 0),
                said=run_log.last_line(Path(run.run_dir)),
                had_begun=run.last_seq > 0,
                was_asked_to_stop=run.desired_state == "stop",
            )
        )
        self._set(run_id, state=ending.state, reason=ending.reason, error=ending.error)

    def _stopping_of(self, run_id: str) -> Stopping:
        """Return how far the run is on its way to its end; after a restart of ours it begins anew."""
        return self._stopping.setdefault(run_id, Stopping(self._clock(), self._grace))

    def _press(self, run_id: str) -> None:
        measure = self._stopping_of(run_id).due(self._clock())
        run = self._store.run_process(run_id)
        if measure is None or not run.pid or run.state != "stopping":
            return
        identity = ProcessId(pid=run.pid, create_time=run.create_time or 0.0)
        _log.warning("run %s did not stop in time: %s", run_id, measure.value)
        self._set(run_id, reason=f"it did not stop in time and was sent {measure.value}")
        if measure is Measure.KILL:
            processes.kill(processes.family(identity))
        else:
            processes.send(identity, _SIGNALS[measure])

    def _look_after_ended(self, living: Mapping[str, RunProcess]) -> None:
        """Keep the models of runs that ended since the last look, and end what their processes left behind."""
        for run_id, run in list(self._watched.items()):
            if run_id in living:
                continue
            is_gone = not self._is_there(run)  # asked first: once it is gone, no model comes any more
            self._importer.keep_model(run_id, Path(run.run_dir))
            if not is_gone:
                continue
            del self._watched[run_id]
            if run.pid and run.host == self._host:
                self._launcher.forget(run.pid)
                if run.origin == "dashboard":
                    processes.kill(processes.left_behind(run.pid))
        self._watched |= living
