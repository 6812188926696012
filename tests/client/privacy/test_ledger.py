"""The ledger never under-counts: not after a kill, and not for whoever edits, removes or sets back its files."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.privacy.ledger import ANCHOR_FILE, KEY_FILE, LOCK_FILE, Plan, PrivacyLedger
from shared.errors import PrivacyRefused
from shared.privacy.history import History, Segment, extend, num_steps
from shared.reasons import Reason

DATASET = "ward records"
STEP = Segment(noise_multiplier=1.1, sample_rate=0.04, steps=25)
PLAN = Plan(run="r1", target_epsilon=8.0, delta=1e-5, sample_rate=0.04, steps=250, noise_multiplier=1.1)


def charge(folder: Path, dataset: str = DATASET, client: str = "site-a") -> History:
    with PrivacyLedger(folder, client).opened(dataset) as ledger:
        ledger.charge(extend(ledger.entry.history, STEP), PLAN)
        return ledger.entry.history


def history_of(folder: Path, dataset: str = DATASET) -> History:
    with PrivacyLedger(folder, "site-a").opened(dataset) as ledger:
        return ledger.entry.history


def ledger_file(folder: Path) -> Path:
    (found,) = [path for path in (folder / "site-a").glob("*.json") if path.name != ANCHOR_FILE]
    return found


def test_charges_add_up_over_openings_and_the_plan_is_kept(tmp_path: Path) -> None:
    assert history_of(tmp_path) == ()
    for _ in range(3):
        charge(tmp_path)
    assert history_of(tmp_path) == (Segment(noise_multiplier=1.1, sample_rate=0.04, steps=75),)
    with PrivacyLedger(tmp_path, "site-a").opened(DATASET) as ledger:
        assert (ledger.entry.plan, ledger.entry.count) == (PLAN, 3)


def test_each_client_and_each_data_set_has_a_life_of_its_own(tmp_path: Path) -> None:
    charge(tmp_path)
    charge(tmp_path, "other data")
    charge(tmp_path, client="site-b")
    assert num_steps(history_of(tmp_path)) == num_steps(history_of(tmp_path, "other data")) == 25


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    charge(tmp_path)
    folder = tmp_path / "site-a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {path.name for path in folder.iterdir()}
    assert names == {KEY_FILE, ANCHOR_FILE, LOCK_FILE, ledger_file(tmp_path).name}, "no temporary file is left"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


Damage = Callable[[Path], object]


def set_back(folder: Path) -> None:
    path = ledger_file(folder)
    old = path.read_bytes()
    charge(folder)
    path.write_bytes(old)


def set_back_by_two(folder: Path) -> None:
    path, anchor = ledger_file(folder), folder / "site-a" / ANCHOR_FILE
    kept = anchor.read_bytes()
    charge(folder)
    charge(folder)
    assert path.exists()
    anchor.write_bytes(kept)  # the anchor alone: two charges behind the ledger


def edit(folder: Path) -> None:
    path = ledger_file(folder)
    path.write_text(path.read_text().replace('"steps": 50', '"steps": 5'))


def edit_and_sign_with_another_key(folder: Path) -> None:
    other = folder.parent / "other"
    for _ in range(2):
        with PrivacyLedger(other, "site-a").opened(DATASET) as ledger:
            ledger.charge((Segment(noise_multiplier=9.0, sample_rate=0.04, steps=1),), PLAN)
    shutil.copy(ledger_file(other), ledger_file(folder))


def exchange_with_another_data_set(folder: Path) -> None:
    charge(folder, "other data")
    charge(folder, "other data")
    first, second = sorted(path for path in (folder / "site-a").glob("*.json") if path.name != ANCHOR_FILE)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def link(folder: Path) -> None:
    path = ledger_file(folder)
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


DAMAGES: dict[str, Damage] = {
    "set back": set_back,
    "anchor set back by two": set_back_by_two,
    "edited": edit,
    "signed with another key": edit_and_sign_with_another_key,
    "another data set's": exchange_with_another_data_set,
    "removed": lambda folder: ledger_file(folder).unlink(),
    "key removed": lambda folder: (folder / "site-a" / KEY_FILE).unlink(),
    "anchor removed": lambda folder: (folder / "site-a" / ANCHOR_FILE).unlink(),
    "ledger and anchor removed": lambda folder: [path.unlink() for path in (folder / "site-a").glob("*.json")],
    "all but the folder removed": lambda folder: [path.unlink() for path in (folder / "site-a").iterdir()],
    "key exchanged": lambda folder: (folder / "site-a" / KEY_FILE).write_text("00" * 32),
    "key cut off": lambda folder: (folder / "site-a" / KEY_FILE).write_text("00" * 5),
    "key not hex": lambda folder: (folder / "site-a" / KEY_FILE).write_text("zz" * 32),
    "truncated": lambda folder: ledger_file(folder).write_bytes(ledger_file(folder).read_bytes()[:-20]),
    "empty": lambda folder: ledger_file(folder).write_bytes(b""),
    "not JSON": lambda folder: ledger_file(folder).write_bytes(b"\xff\x00"),
    "deeply nested": lambda folder: ledger_file(folder).write_bytes(b"[" * 100_000),
    "a list": lambda folder: ledger_file(folder).write_text("[1]"),
    "huge": lambda folder: ledger_file(folder).write_bytes(b" " * 5_000_000),
    "readable by others": lambda folder: ledger_file(folder).chmod(0o644),
    "key readable by others": lambda folder: (folder / "site-a" / KEY_FILE).chmod(0o640),
    "a link": link,
    "a folder": lambda folder: (ledger_file(folder).unlink(), ledger_file_name(folder).mkdir()),
}


def ledger_file_name(folder: Path) -> Path:
    import hashlib

    return folder / "site-a" / f"{hashlib.sha256(DATASET.encode()).hexdigest()[:32]}.json"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_ledger_that_cannot_be_trusted_is_refused(tmp_path: Path, damage: Damage) -> None:
    folder = tmp_path / "ledgers"
    charge(folder)
    charge(folder)
    damage(folder)
    with pytest.raises(PrivacyRefused) as refusal:
        charge(folder)
    assert refusal.value.reason == Reason.PRIVACY_LEDGER
    assert str(refusal.value).endswith((".", "again", "it", "one", "can", "reads", "set"))


def test_nothing_is_charged_where_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivacyRefused, match="cannot be used"):
        charge(tmp_path / "file" / "ledgers")
    with pytest.raises(PrivacyRefused, match="cannot name a folder"):
        PrivacyLedger(tmp_path, "../outside")


def test_a_kill_between_ledger_and_anchor_keeps_the_charge(tmp_path: Path) -> None:
    charge(tmp_path)
    anchor = tmp_path / "site-a" / ANCHOR_FILE
    before = anchor.read_bytes()
    charge(tmp_path)
    anchor.write_bytes(before)  # as a kill after the first of the two writes leaves it
    assert num_steps(history_of(tmp_path)) == 50
    assert num_steps(charge(tmp_path)) == 75


CHARGES_FOR_EVER = """
import sys
from pathlib import Path
from client.privacy.ledger import PrivacyLedger
from shared.privacy.history import Segment, extend
step = Segment(noise_multiplier=1.1, sample_rate=0.04, steps=1)
while True:
    with PrivacyLedger(Path(sys.argv[1]), "site-a").opened("ward records") as ledger:
        ledger.charge(extend(ledger.entry.history, step), None)
    sys.stdout.write("charged\\n")
    sys.stdout.flush()
"""


def start_charging(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHARGES_FOR_EVER, str(folder)], stdout=subprocess.PIPE)


def test_kill_9_at_any_moment_never_loses_a_charge(tmp_path: Path) -> None:
    seeded = random.Random(5)
    acknowledged = 0
    for kills in range(1, 9):
        process = start_charging(tmp_path)
        assert process.stdout is not None
        # Anywhere in the writes that follow an acknowledged charge: a different spin for each kill.
        for _ in range(seeded.randint(1, 12)):
            assert process.stdout.readline() == b"charged\n"
            acknowledged += 1
        for _ in range(seeded.randint(0, 60_000)):
            pass
        process.kill()
        acknowledged += process.stdout.read().count(b"charged")
        process.wait()
        process.stdout.close()
        steps = num_steps(history_of(tmp_path))
        assert acknowledged <= steps <= acknowledged + kills


FAILS_AT = """
import os, signal, sys
from pathlib import Path
import client.privacy.ledger
from client.privacy.ledger import PrivacyLedger
from shared.privacy.history import Segment, extend
step = Segment(noise_multiplier=1.1, sample_rate=0.04, steps=1)
calls = 0
def dies_at(name):
    real = getattr(os, name)
    def counted(*arguments, **named):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(os, name, counted)
for name in ("fsync", "replace", "rename", "open", "mkdir", "close"):
    dies_at(name)
with PrivacyLedger(Path(sys.argv[1]), "site-a").opened("ward records") as ledger:
    ledger.charge(extend(ledger.entry.history, step), None)
os.write(1, b"charged")
"""


def test_a_kill_before_each_single_write_leaves_a_ledger_that_counts(tmp_path: Path) -> None:
    done = False
    for first in (True, False):  # the first charge makes the folder too
        for at in range(1, 60):
            folder = tmp_path / f"{first}-{at}"
            if not first:
                charge(folder)
            before = 0 if first else 25
            process = subprocess.run(
                [sys.executable, "-c", FAILS_AT, str(folder), str(at)], capture_output=True, check=False
            )
            was_charged = process.stdout == b"charged"
            if not was_charged:
                assert process.returncode == -9, process.stderr
            steps = num_steps(history_of(folder))
            assert steps in ((before + 1,) if was_charged else (before, before + 1))
            assert num_steps(charge(folder)) == steps + 25, "and the client goes on"
            done = was_charged
            if done:
                break
    assert done


def test_two_processes_that_charge_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [start_charging(tmp_path) for _ in range(2)]
    counts = []
    for process in processes:
        assert process.stdout is not None
        for _ in range(10):
            assert process.stdout.readline() == b"charged\n"
    for process in processes:
        process.kill()
        assert process.stdout is not None
        counts.append(10 + process.stdout.read().count(b"charged"))
        process.wait()
        process.stdout.close()
    assert sum(counts) <= num_steps(history_of(tmp_path)) <= sum(counts) + 2


def test_a_ledger_is_plain_json_with_its_code(tmp_path: Path) -> None:
    charge(tmp_path)
    document = json.loads(ledger_file(tmp_path).read_text())
    assert document["body"]["history"] == [{"noise_multiplier": 1.1, "sample_rate": 0.04, "steps": 25}]
    assert len(bytes.fromhex(document["hmac"])) == 32
    assert os.path.getsize(tmp_path / "site-a" / KEY_FILE) == 64
