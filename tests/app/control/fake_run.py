"""A process that behaves as a run towards whoever supervises it, without training: ``fake_run.py MODE RUN_DIR``.

``rounds``: emits events round by round, obeys the control file, goes on where it ended, leaves a model.
``fails``: says why and ends with exit code 2. ``deaf``: starts a child and ends on nothing but SIGKILL.
``interruptible``: does not read the control file, ends on SIGINT as the command does.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.numpy

from app import run_lock
from app.engine.control import Desired, FileControl
from monitor.sinks import JsonlSink, last_seq, read_events
from shared.config import from_mapping, load_toml
from shared.events import EventLog, RoundClosed, RoundStarted, RunEnded, RunPaused, RunResumed, RunStarted
from shared.parameters import model_digest

PAUSE_S = 0.01  # a round


def main(mode: str, run_dir: Path) -> int:
    if mode == "fails":
        print("error: there is no data for this run", file=sys.stderr)
        return 2
    with run_lock.held(run_dir):
        return {"rounds": rounds, "deaf": deaf, "interruptible": interruptible}[mode](run_dir)


def rounds(run_dir: Path) -> int:
    config = from_mapping(load_toml(run_dir / "config.toml"), where="test")
    control = FileControl(run_dir)
    log = opened(run_dir)
    done = sum(row["type"] == "round-closed" for row in read_events(run_dir / "events.jsonl"))
    started(log, config.as_flat(), done + 1)
    state = "completed"
    for number in range(done + 1, config.num_rounds + 1):
        if control.desired() is Desired.PAUSE:
            log.emit(RunPaused())
            while control.desired() is Desired.PAUSE:
                time.sleep(PAUSE_S)
            log.emit(RunResumed())
        if control.desired() is Desired.STOP:
            state = "stopped"
            break
        log.emit(RoundStarted(server_round=number, attempt=1))
        time.sleep(PAUSE_S)
        log.emit(RoundClosed(server_round=number, seconds=0.1, model_digest=digest_of(number), checkpoint_seconds=0.0))
        done = number
    log.emit(RunEnded(state=state, rounds_completed=done, seconds=1.0))
    log.close()
    safetensors.numpy.save_file(model(done), run_dir / "model.safetensors")
    return 0


def deaf(run_dir: Path) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(60)"])
    started(opened(run_dir), {}, 1)
    (run_dir / "child").write_text(str(child.pid))
    while True:
        time.sleep(60)


def interruptible(run_dir: Path) -> int:
    log = opened(run_dir)
    started(log, {}, 1)
    try:
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        log.emit(RunEnded(state="interrupted", rounds_completed=0, seconds=1.0))
        return 130


def opened(run_dir: Path) -> EventLog:
    path = run_dir / "events.jsonl"
    return EventLog(run_dir.name, [JsonlSink(path)], time.time, last_seq(path) + 1)


def started(log: EventLog, config: dict[str, object], first_round: int) -> None:
    log.emit(
        RunStarted(
            config=config, first_round=first_round, clients=["client-0"], num_clients=1, num_parameters=2, workers=1
        )  # type: ignore[arg-type]
    )


def model(number: int) -> dict[str, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    return {"w": np.full(2, number, dtype=np.float32)}


def digest_of(number: int) -> str:
    return model_digest(model(number)).hex()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
