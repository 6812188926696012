"""One dashboard an output folder, found by whoever comes next, and nobody else's file believed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.control.dashboards import DASHBOARD_FILE, Dashboard, claimed, living_dashboard, state_folder, write_dashboard
from app.control.parent_watch import ParentWatch
from app.control.processes import ProcessId, identify
from shared.errors import UsageError

LIMIT_S = 60


def mine() -> Dashboard:
    me = identify(os.getpid())
    assert me is not None
    return Dashboard(pid=me.pid, create_time=me.create_time, url="http://127.0.0.1:5000")


def test_a_living_dashboard_is_found(tmp_path: Path) -> None:
    assert living_dashboard(tmp_path) is None
    write_dashboard(tmp_path, mine())
    assert living_dashboard(tmp_path) == mine()
    assert state_folder(tmp_path).stat().st_mode & 0o777 == 0o700
    assert (state_folder(tmp_path) / DASHBOARD_FILE).stat().st_mode & 0o777 == 0o600


def test_a_dashboard_that_is_gone_is_not(tmp_path: Path) -> None:
    write_dashboard(tmp_path, Dashboard(pid=os.getpid(), create_time=1.0, url="http://127.0.0.1:5000"))
    assert living_dashboard(tmp_path) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pid": 1}', '{"pid": "x", "create_time": 1, "url": ""}', "1" * 9999]
)
def test_a_file_of_another_form_is_no_dashboard(tmp_path: Path, content: str) -> None:
    write_dashboard(tmp_path, mine())
    (state_folder(tmp_path) / DASHBOARD_FILE).write_text(content)
    assert living_dashboard(tmp_path) is None


def test_a_file_that_others_could_have_written_is_not_believed(tmp_path: Path) -> None:
    write_dashboard(tmp_path, mine())
    path = state_folder(tmp_path) / DASHBOARD_FILE
    path.chmod(0o644)
    assert living_dashboard(tmp_path) is None
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"pid": mine().pid, "create_time": mine().create_time, "url": "http://evil"}))
    other.chmod(0o600)
    path.unlink()
    path.symlink_to(other)
    assert living_dashboard(tmp_path) is None


def test_a_state_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".constellation").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link or belongs to somebody else"):
        state_folder(tmp_path / "runs")


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written: Not a directory"):
        state_folder(tmp_path / "file")


def test_a_second_dashboard_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    write_dashboard(tmp_path, mine())
    with claimed(tmp_path), pytest.raises(UsageError, match=r"already at http://127\.0\.0\.1:5000"), claimed(tmp_path):
        pass
    with claimed(tmp_path):  # it was given back
        pass


def test_the_claim_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from app.control.dashboards import claimed\n"
        "with claimed(Path(sys.argv[1])): print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(UsageError, match="serves"), claimed(tmp_path):
            pass
        other.kill()
        other.wait(LIMIT_S)
        with claimed(tmp_path):
            pass


def test_a_watch_tells_once_when_the_parent_is_gone() -> None:
    told: list[bool] = []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        identity = identify(parent.pid)
        assert identity is not None
        watch = ParentWatch(identity, lambda: told.append(True), look_s=0.01)
        watch.start()
        assert told == []
        parent.kill()
        parent.wait(LIMIT_S)
        watch._thread.join(LIMIT_S)
    assert told == [True]
    watch.close()


def test_a_watch_that_is_closed_says_nothing() -> None:
    told: list[bool] = []
    watch = ParentWatch(identify(os.getpid()) or ProcessId(pid=0, create_time=0.0), lambda: told.append(True))
    watch.start()
    watch.close()
    assert told == []
