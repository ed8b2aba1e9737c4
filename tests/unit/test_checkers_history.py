"""Histories: recorded, stored and read back; and the package stands on the standard library alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tallystick
from tallystick.testing import History, Operation, check_linearizability, register
from tallystick.testing import history as histories
from tests.unit.checkers_kit import failed, ok, read, right_history, undecided, write


def test_calls_are_recorded_as_they_happen() -> None:
    history = History()
    first = history.begin("p", "x", "write", 1, at_s=0.0)
    second = history.begin("q", "x", "write", 2, at_s=0.5)
    third = history.begin("r", "x", "write", 3, at_s=0.6)
    history.begin("s", "x", "write", 4, at_s=0.7)
    fifth = history.begin("t", "x", "read", at_s=0.8, consistency="session")
    assert [op.outcome for op in history] == ["undecided"] * 5
    fifth.ok(at_s=0.9, result=1, revision=8)
    first.ok(at_s=1.0, revision=7)
    second.failed(at_s=1.0)
    third.undecided(at_s=2.0)
    assert [(op.process, op.outcome, op.returned_s, op.result, op.revision) for op in history] == [
        ("p", "ok", 1.0, None, 7),
        ("q", "failed", 1.0, None, None),
        ("r", "undecided", 2.0, None, None),
        ("s", "undecided", None, None, None),
        ("t", "ok", 0.9, 1, 8),
    ]
    with pytest.raises(ValueError, match="a second answer"):
        third.ok(at_s=3.0)


def test_an_answer_of_undecided_binds_nothing() -> None:
    told = Operation(process="u", key="x", kind="write", argument=1, invoked_s=0, returned_s=1, outcome="undecided")
    assert check_linearizability([told, read(None, 2, 3), read(1, 4, 5)], register())
    assert check_linearizability([told, read(None, 2, 3)], register())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outcome": "ok"}, "undecided"),
        ({"outcome": "failed"}, "undecided"),
        ({"outcome": "ok", "returned_s": 0.5}, "before it was asked"),
        ({"outcome": "ok", "returned_s": float("nan")}, "before it was asked"),
        ({"result": 1}, "no result"),
        ({"consistency": "local"}, "belongs to reads"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    good = {"process": "p", "key": "x", "kind": "write", "argument": 1, "invoked_s": 1.0}
    path = tmp_path / "history.jsonl"
    _store(path, good | changes)
    with pytest.raises(ValueError, match="line 2: "):
        History.load(path)
    with pytest.raises(ValueError, match=says):
        Operation(**good | changes)  # type: ignore[arg-type]


def _store(path: Path, *operations: object) -> None:
    head = {"format": "tallystick-history", "version": 1}
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *operations)), encoding="utf-8")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    every = [
        *right_history(1, 200, clients=3, keys=2, undecided_share=0.2),
        failed("write", {"ä": [1, None]}, 0, 1),
        undecided("append", "\u2028", 3),
        ok("increment", 1.5, 3, 0, 1, revision=2**60),
        read(value=False, began=0, ended=1, consistency="local"),
    ]
    path = tmp_path / "history.jsonl"
    History(every).save(path)
    assert list(History.load(path)) == every


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: "),
        ("{}\n", "line 1: the head"),
        ('{"format": "tallystick-history", "version": 2}\n', "line 1: the head"),
        ("HEAD[]\n", "line 2: not an operation"),
        ("HEADnonsense\n", "line 2: "),
        ("HEAD" + "[" * 100_000 + "\n", "line 2: "),
        ('HEAD{"process":"p","key":"x","kind":"read"}\n', "line 2: .*invoked_s"),
        ('HEAD{"process":"p","key":"x","kind":"read","invoked_s":0,"more":1}\n', "line 2: not an operation"),
        ('HEAD{"process":"p","key":"x","kind":"peek","invoked_s":0}\n', "line 2: kind is none of"),
        ('HEAD{"process":"p","key":"x","kind":[],"invoked_s":0}\n', "line 2: kind is none of"),
        ('HEAD{"process":1,"key":"x","kind":"read","invoked_s":0}\n', "line 2: process is of a wrong type"),
        ('HEAD{"process":"p","key":"x","kind":"read","invoked_s":true}\n', "line 2: invoked_s is of a wrong type"),
        ('HEAD{"process":"p","key":"x","kind":"read","invoked_s":NaN}\n', "line 2: NaN"),
        ('HEAD{"process":"p","key":"x","kind":"read","invoked_s":0}\nHEAD', "line 3: not an operation"),
    ],
)
def test_what_is_no_history_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(text.replace("HEAD", '{"format": "tallystick-history", "version": 1}\n'), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        History.load(path)


def test_what_is_not_json_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        History([write(float("inf"), 0, 1)]).save(tmp_path / "history.jsonl")


def test_a_selection() -> None:
    history = History(right_history(1, 50, clients=2, keys=3))
    only = history.select(lambda op: op.key == "1")
    assert 0 < len(only) < 50
    assert {op.key for op in only} == {"1"}
    assert history[:2] == [history[0], history[1]]


def test_a_history_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MAX_OPERATIONS", 2)
    history = History([write(1, 0, 1), write(2, 0, 1)])
    with pytest.raises(ValueError, match="at most 2"):
        history.append(write(3, 0, 1))


def test_the_checkers_need_nothing_else_of_the_client() -> None:
    """Imported below an empty package in place of the client's."""
    program = """
import sys, types
package = types.ModuleType("tallystick")
package.__path__ = [sys.argv[1]]
sys.modules["tallystick"] = package
from tallystick.testing import check_linearizability, check_witness, check_sessions, check_watch, check_convergence
loaded = {name for name in sys.modules if name.startswith("tallystick.") and not name.startswith("tallystick.testing")}
print(sorted(loaded | (sys.modules.keys() & {"asyncio", "grpc", "orjson", "google.protobuf", "pycrdt", "pytest"})))
"""
    folder = Path(tallystick.__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
