"""Which attributes are settings or code, and how a change in an unknown object is noticed."""

from __future__ import annotations

import enum
import functools
import logging
import math
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from app.strategies.state_objects import fingerprint, is_made_again


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    size: int


@dataclass
class Mutable:
    size: int


class Slotted:
    __slots__ = ("_lock", "left")

    def __init__(self, left):
        self.left = left
        self._lock = threading.Lock()


class Node:
    def __init__(self, **parts):
        self.__dict__.update(parts)


class Schedule:
    """An object that can be called and yet remembers."""

    calls = 0

    def __call__(self):
        self.calls += 1


@pytest.mark.parametrize(
    "value",
    [len, lambda: 0, Path, Path("x"), math, functools.partial(print), logging.getLogger("x"), Colour.RED, Frozen(1)],
)
def test_code_and_settings_are_made_again(value):
    assert is_made_again(value)


@pytest.mark.parametrize("value", [Mutable(1), Schedule(), Node(), {}, object()], ids=lambda v: type(v).__name__)
def test_what_may_change_is_not(value):
    assert not is_made_again(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Mutable(1), Mutable(2)),
        (Slotted(1), Slotted(2)),
        (Node(a=np.zeros(3)), Node(a=np.array([0, 0, 1e-300]))),
        (Node(a=np.zeros(2)), Node(a=np.zeros((2, 1)))),
        (Node(inner=Node(items=[Mutable(1)])), Node(inner=Node(items=[Mutable(2)]))),
        ({"k": Mutable(1)}, {"k": Mutable(2)}),
        (Node(a=1), Node(b=1)),
        (Node(a=1), Node(a=True)),
    ],
)
def test_a_change_anywhere_within_is_noticed(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_calling_a_stateful_object_is_noticed():
    schedule = Schedule()
    before = fingerprint(schedule)
    schedule()
    assert fingerprint(schedule) != before


def test_objects_that_hold_each_other_are_walked_once():
    def ring(value):
        first, second = Node(value=value), Node()
        first.next, second.next = second, first
        return first

    assert fingerprint(ring(1)) == fingerprint(ring(1))
    assert fingerprint(ring(1)) != fingerprint(ring(2))


def test_what_python_cannot_look_into_counts_by_its_type():
    assert fingerprint(threading.Lock()) == fingerprint(threading.Lock())
    assert fingerprint(Slotted(1)) == fingerprint(Slotted(1))


def test_another_process_sees_the_same():
    program = (
        "from fractions import Fraction; from app.strategies.state_objects import fingerprint;"
        "print(fingerprint([Fraction(1, 3), {'a', 'b', 'c'}]))"
    )
    root = Path(__file__).parents[3]
    seen = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
