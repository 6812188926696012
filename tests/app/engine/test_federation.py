"""The parts of a federation that can be looked at without a SuperLink: ports, processes, the app that is submitted."""

from __future__ import annotations

import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from app.engine.federation import Federation, LinkOptions, Tls, _last_object, is_healthy, require_free_port
from app.engine.flwr_compat import complaints_about, parse_overrides
from app.engine.processes import MARK, Family, marked, sweep
from app.engine.thin_app import write_overrides, write_thin_app
from shared.config import RunConfig, from_mapping
from shared.errors import UsageError
from shared.run_order import OWN_KEYS, order_in, settings_in

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
DETACHES = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"fl-port {port} on 127\.0\.0\.1 cannot be used: .*; name another"):
            require_free_port("127.0.0.1", port)
        assert not is_healthy(f"127.0.0.1:{port + 1 if port < 65535 else port - 1}", None)


def test_a_family_ends_whole_also_those_that_detached(tmp_path: Path) -> None:
    family = Family(folder=tmp_path)
    plain = family.start("plain", [sys.executable, "-c", SLEEPER])
    detaching = family.start("detaching", [sys.executable, "-c", DETACHES])
    detaching.process.wait()
    assert len(family.members()) == 2
    family.end()
    assert family.members() == []
    assert not plain.is_running


def test_who_does_not_end_when_asked_is_made_to(tmp_path: Path) -> None:
    family = Family(folder=tmp_path)
    stubborn = family.start("stubborn", [sys.executable, "-c", STUBBORN])
    while "up" not in stubborn.last_lines():
        assert stubborn.is_running
    sweep(family.mark, grace_s=0.5)
    family.end()
    assert not stubborn.is_running


def test_a_family_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.engine.processes import Family\n"
        f"family = Family(folder=Path({str(tmp_path)!r})); family.start('child', [sys.executable, '-c', {SLEEPER!r}])\n"
        "print(family.mark, flush=True); time.sleep(600)"
    )
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as starter:
        assert starter.stdout is not None
        mark = starter.stdout.readline().strip()
        (child,) = marked(mark)
        starter.kill()
    psutil.wait_procs([child], timeout=30)
    assert marked(mark) == []


def test_another_familys_processes_are_left_alone(tmp_path: Path) -> None:
    family, other = Family(folder=tmp_path), Family(folder=tmp_path)
    stays = other.start("stays", [sys.executable, "-c", SLEEPER])
    family.end()
    assert stays.is_running
    other.end()


def test_flower_takes_the_app_that_is_submitted(tmp_path: Path) -> None:
    folder = write_thin_app(tmp_path / "app")
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert complaints_about(project) == []
    assert project["tool"]["flwr"]["app"]["config"] == {**RunConfig().as_flat(), **OWN_KEYS}
    before = (folder / "pyproject.toml").read_bytes()
    assert (write_thin_app(tmp_path / "app") / "pyproject.toml").read_bytes() == before


def test_settings_arrive_as_they_were_sent(tmp_path: Path) -> None:
    sent = {
        **RunConfig(dataset='csv:/data/it\'s "x" = y.csv', learning_rate=1e-3, signatures=False).as_flat(),
        "run-id": "20260101-000000-abcdef",
        "clients": "client-0,client-1",
    }
    found = parse_overrides([str(write_overrides(tmp_path / "settings.toml", sent))])
    assert found == sent
    assert from_mapping(settings_in(found), where="here").dataset == 'csv:/data/it\'s "x" = y.csv'
    assert order_in(found) == {"run-id": "20260101-000000-abcdef", "clients": "client-0,client-1"}
    assert order_in({}) == {"run-id": "", "clients": ""}


def test_the_answer_is_found_among_lines_for_people() -> None:
    assert _last_object('note {x}\n{"run-id": "5", "success": true}\nbye') == {"run-id": "5", "success": True}
    assert _last_object("nothing") is None


def test_the_superlink_is_told_of_certificates_and_enrollment(tmp_path: Path) -> None:
    tls = Tls(certificate=Path("c.pem"), key=Path("k.pem"), authority=Path("ca.pem"))
    options = LinkOptions(host="0.0.0.0", port=8080, tls=tls, enrolls_nodes=True, database=Path("link.db"))
    federation = Federation(folder=tmp_path, options=options)
    command = federation._superlink_command()
    assert "--insecure" not in command
    assert command[command.index("--ssl-ca-certfile") + 1] == "ca.pem"
    assert "--enable-supernode-auth" in command
    assert command[command.index("--database") + 1] == "link.db"
    assert federation.address == "127.0.0.1:8080"
    connection = tomllib.loads(federation._connection())["superlink"]["here"]
    assert connection == {"address": "127.0.0.1:8080", "root-certificates": "ca.pem"}


def test_the_marks_variable_is_handed_down_and_no_other_mark(tmp_path: Path) -> None:
    family = Family(folder=tmp_path)
    assert family.full_environment()[MARK] == family.mark
    family.end()
