from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.monitor.reporting.dashboards import Dashboard, serving

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "constellation", "watch", *arguments]


def event(seq: int, kind: str, **data: object) -> dict[str, object]:
    return {"seq": seq, "ts": 1.0, "run": "r1", "type": kind, **data}


def test_json_prints_event_lines_and_nothing_else() -> None:
    dashboard = Dashboard()
    end = event(2, "run-ended", state="completed", seconds=1.0, **{"rounds-completed": 0})
    dashboard.events = [event(1, "run-waiting", reason="clients 1/2"), end]
    with serving(dashboard) as port:
        done = subprocess.run(
            command(f"http://127.0.0.1:{port}", "--json"), cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == dashboard.events


def test_ctrl_c_ends_it_as_interrupted_and_it_imports_neither_torch_nor_flower(tmp_path: Path) -> None:
    dashboard = Dashboard()
    dashboard.events = [event(1, "run-waiting", reason="clients 1/2")]
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    (tmp_path / "flwr.py").write_text("raise SystemExit('flwr was imported')")
    with serving(dashboard) as port:
        process = subprocess.Popen(
            command(f"http://127.0.0.1:{port}"),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        dashboard.wait_until(lambda it: len(it.calls) >= 3)  # it polls: the events, and again
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")
    assert output == b"waiting: clients 1/2\n"


def test_an_address_or_token_that_cannot_be_used_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    for arguments, part in (
        (("localhost",), "must look like"),
        (("http://h", "--token-file", str(token)), "chmod 600"),
    ):
        done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert part in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_dashboard_that_does_not_answer_is_one_sentence_and_exit_code_1() -> None:
    with serving(Dashboard()) as port:
        pass
    done = subprocess.run(command(f"http://127.0.0.1:{port}"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port}" in done.stderr
