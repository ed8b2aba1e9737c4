"""The file of an outbox: what was written is there after a crash, and what is not what was written is found out."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick import Conflict, Corrupt, Invalid, Mutation, QuotaExceeded, ops
from tallystick.outbox import file as outbox_file
from tallystick.outbox.entries import Base, Entry, Fate
from tallystick.outbox.file import OutboxFile

ID = bytes(range(16))


@contextmanager
def opened(path: Path, owner: str = "demo/a/main") -> Iterator[OutboxFile]:
    file = OutboxFile(path, owner)
    try:
        assert file.open(ID) == ID
        yield file
    finally:
        file.close()


def made(number: int) -> tuple[Mutation, ...]:
    return (Mutation.of(ops.set("/n", number), cause=f"test {number}"), Mutation.event("note", {"n": number}))


def contents(file: OutboxFile) -> tuple[list[Entry], Base | None, int, str, bool, bytes]:
    return file.entries(), file.base(), file.round_after(), file.settling(), file.is_offline(), file.report()


def test_all_of_it_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path / "x" / "a.outbox") as file:
        file.begin_round(Base(7, b'{"n":7}'), report=b"[]")
        one = file.add(made(1), "k1", made_offline=True)
        two = file.add(made(2), "k2", made_offline=False)
        three = replace(two, attempt=b"\x00\xff", fate=Fate.REFUSED, seq=9, branch="b", reason="SEQ_CONFLICT")
        file.update(three)
        file.begin_settling("branch:b")
        file.set_offline(offline=True)
        before = contents(file)
    with opened(tmp_path / "x" / "a.outbox") as file:
        assert contents(file) == before == ([one, three], Base(7, b'{"n":7}'), 0, "branch:b", True, b"[]")
        file.begin_round(Base(9, b"{}"), forget=[1])
        assert [entry.number for entry in file.entries()] == [2] and file.round_after() == 2 and not file.settling()
        assert file.add(made(3), "k3", made_offline=False).number == 3
        file.remove([2, 3])
        assert file.add(made(4), "k4", made_offline=False).number == 4, "a number is never used again"


def test_one_process_one_agent(tmp_path: Path) -> None:
    with opened(tmp_path / "a.outbox"):
        other = OutboxFile(tmp_path / "a.outbox", "demo/a/main")
        with pytest.raises(Conflict):
            other.open(ID)
        other.close()
    with pytest.raises(Invalid, match="demo/a/main"), opened(tmp_path / "a.outbox", "demo/b/main"):
        pass
    with pytest.raises(Invalid, match="closed"):
        OutboxFile(tmp_path / "a.outbox", "demo/a/main").entries()


def test_a_format_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_file, "FORMAT", 2)
    with opened(tmp_path / "a.outbox"):
        pass
    monkeypatch.undo()
    with pytest.raises(Invalid, match="format 2"), opened(tmp_path / "a.outbox"):
        pass


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_file, "MAX_ENTRIES", 2)
    with opened(tmp_path / "a.outbox") as file:
        file.add(made(1), "k", made_offline=False)
        file.add(made(2), "k", made_offline=False)
    with opened(tmp_path / "a.outbox") as file:
        with pytest.raises(QuotaExceeded):
            file.add(made(3), "k", made_offline=False)
        file.remove([1])
        file.add(made(3), "k", made_offline=False)
    monkeypatch.setattr(outbox_file, "MAX_BYTES", 10)
    with opened(tmp_path / "a.outbox") as file:
        file.remove([2])
        with pytest.raises(QuotaExceeded):
            file.add(made(4), "k", made_offline=False)


def test_what_is_not_what_was_written_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "a.outbox"
    with opened(path) as file:
        file.begin_round(Base(7, b'{"secret":"tally"}'))
        for number in range(5):
            file.add(made(number), f"key-{number}", made_offline=True)
        before = contents(file)
    whole = path.read_bytes()
    rng = random.Random(3)
    data = [at for at in range(len(whole)) if whole[at]]
    found = 0
    for at in rng.sample(data, min(300, len(data))):
        path.write_bytes(bytes([*whole[:at], whole[at] ^ (1 << rng.randrange(8)), *whole[at + 1 :]]))
        for left in tmp_path.glob("a.outbox-*"):
            left.unlink()
        try:
            with opened(path) as file:
                seen = contents(file)
        except (Corrupt, Invalid):
            found += 1
        else:
            assert seen == before, f"byte {at} was changed, and nobody saw it"
    assert found > 100


def test_a_process_that_dies_leaves_what_it_had_written(tmp_path: Path) -> None:
    with opened(tmp_path / "a.outbox") as file:
        file.add(made(1), "k1", made_offline=True)
        for name in ("a.outbox", "a.outbox-wal"):  # as a power cut would leave them: nothing was closed
            (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "copy-a.outbox-wal").rename(tmp_path / "copied.outbox-wal")
    (tmp_path / "copy-a.outbox").rename(tmp_path / "copied.outbox")
    with opened(tmp_path / "copied.outbox") as file:
        assert [entry.key for entry in file.entries()] == ["k1"]
    with sqlite3.connect(tmp_path / "copied.outbox") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
