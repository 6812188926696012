"""Processes are told apart by pid and start time, and ended with all that they started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from app.control import processes
from app.control.processes import ProcessId

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""
LIMIT_S = 60


@pytest.fixture
def parent() -> Iterator["tuple[subprocess.Popen[str], psutil.Process]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        yield process, psutil.Process(int(process.stdout.readline()))
        process.kill()


def test_a_process_is_found_by_pid_and_start_time() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert processes.is_alive(me)
    assert not processes.is_alive(replace(me, create_time=me.create_time - 60))


@pytest.mark.parametrize("pid", [-1, 2**31, 2**70])
def test_a_pid_that_cannot_be_is_nobodys(pid: int) -> None:
    assert processes.identify(pid) is None
    assert not processes.is_alive(ProcessId(pid=pid, create_time=0.0))


def test_a_process_that_is_only_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = processes.identify(process.pid)
        assert identity is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert not processes.is_alive(identity)
        assert not processes.send(identity, signal.SIGINT)


def test_a_run_nobody_wrote_down_is_found_by_its_argument(
    parent: "tuple[subprocess.Popen[str], psutil.Process]",
) -> None:
    process, _ = parent
    found = processes.find_by_argument(PARENT)
    assert found is not None
    assert found.pid == process.pid
    assert processes.find_by_argument("no such argument") is None


def test_another_users_process_with_the_same_argument_is_none_of_ours(
    parent: "tuple[subprocess.Popen[str], psutil.Process]", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes.find_by_argument(PARENT) is not None
    monkeypatch.setattr(os, "getuid", lambda: 65_533)
    assert processes.find_by_argument(PARENT) is None


def test_a_family_is_killed_whole(parent: "tuple[subprocess.Popen[str], psutil.Process]") -> None:
    process, child = parent
    identity = processes.identify(process.pid)
    assert identity is not None
    processes.kill(processes.family(identity))
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    child.wait(LIMIT_S)


def test_what_a_killed_leader_leaves_behind_is_found(parent: "tuple[subprocess.Popen[str], psutil.Process]") -> None:
    process, child = parent
    child.suspend()  # else it would end with its parent's end of the pipe
    assert processes.left_behind(process.pid) == []  # while the leader lives, nothing is
    process.kill()
    process.wait(LIMIT_S)
    assert [member.pid for member in processes.left_behind(process.pid)] == [child.pid]
    processes.kill(processes.left_behind(process.pid))
    child.wait(LIMIT_S)


def test_our_own_session_is_never_listed() -> None:
    assert processes.session(os.getsid(0)) == []
