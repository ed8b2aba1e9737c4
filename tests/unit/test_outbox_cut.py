"""An outbox that is cut at a bad moment, or whose disk is full: what it holds and what its file holds stay the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from tallystick import Agent, Invalid, Mutation, Overloaded, Snapshot, Unavailable, Undecided, ops
from tallystick._calls import Calls
from tallystick._json import JSON
from tallystick._outside import Machine
from tallystick.errors import Conflict, Reason, TallystickError
from tallystick.outbox.applying import apply
from tallystick.outbox.entries import Fate
from tallystick.outbox.file import OutboxFile
from tallystick.outbox.line import Line
from tallystick.outbox.outbox import Outbox
from tallystick.schemas.known import KnownSchemas
from tallystick.schemas.versions import Versions
from tallystick.v1 import state_pb2

DEADLINE_S = 20.0


class Log(Line):
    """A log in memory, whose answers come when they may.

    Attributes:
        refuses: what is told of an append whose first mutation has this cause.
        down: no node can be reached.
        gate: answers wait for it; what waits was decided.
    """

    def __init__(self) -> None:
        self.agent = cast("Agent", SimpleNamespace(namespace="demo", name="a", branch="main"))
        self.outside = Machine()
        self.outside.rng = Random(1)
        self.seq, self.state = 0, cast("JSON", {})
        self.seqs: dict[str, int] = {}
        self.refuses: dict[str, TallystickError] = {}
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self._ref, self._actor, self._epoch = state_pb2.AppendRequest().agent, "me", lambda: 0
        self._calls = cast("Calls", SimpleNamespace(versions=Versions(KnownSchemas(()))))

    def observed(self) -> None:
        """Nothing was read."""

    async def send(self, attempt: bytes, timeout_s: float | None) -> int:
        if self.down:
            raise Unavailable("down")
        request = state_pb2.AppendRequest.FromString(attempt)
        cause = request.mutations[0].cause
        if cause in self.refuses:
            self.asked.set()
            await self.gate.wait()
            raise self.refuses[cause]
        if request.idempotency_key not in self.seqs:
            if request.expected_seq != self.seq:
                raise Conflict("others wrote", reason=Reason.SEQ_CONFLICT)
            self.state = apply(self.state, [_mutation(each) for each in request.mutations])
            self.seq += len(request.mutations)
            self.seqs[request.idempotency_key] = self.seq
        self.asked.set()
        await self.gate.wait()
        return self.seqs[request.idempotency_key]

    async def find(self, attempt: bytes, timeout_s: float | None) -> int:
        return 0

    async def head(self, timeout_s: float | None) -> Snapshot:
        if self.down:
            raise Unavailable("down")
        return cast("Snapshot", SimpleNamespace(seq=self.seq, state=self.state))


def _mutation(message: state_pb2.Mutation) -> Mutation:
    from tallystick import _convert

    return _convert.mutation(message)


@contextlib.asynccontextmanager
async def opened(log: Log, path: Path, *, auto_offline: bool = True, write_back: bool = False) -> AsyncIterator[Outbox]:
    async with asyncio.timeout(DEADLINE_S):
        async with Outbox(
            log, path / "a.outbox", patience_s=0.01, auto_offline=auto_offline, write_back=write_back
        ) as box:
            yield box


class Slow:
    """A method of the file that waits until it may go on, on the file's thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.begun, self._go_on = asyncio.Event(), threading.Event()
        loop, real = asyncio.get_running_loop(), getattr(OutboxFile, name)

        def slow(file: OutboxFile, *args: object, **named: object) -> object:
            loop.call_soon_threadsafe(self.begun.set)
            self._go_on.wait(DEADLINE_S)
            return real(file, *args, **named)

        monkeypatch.setattr(OutboxFile, name, slow)

    async def cancels(self, task: asyncio.Task[object]) -> None:
        """Cancels the task while the file is at it, and lets it go on after that."""
        await self.begun.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(self._go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task


async def held(box: Outbox) -> tuple[list[object], list[object]]:
    """What it holds, and what its file does."""
    in_file = await box._run(box._file.entries)
    return list(box._entries.values()), list(in_file)


@pytest.mark.parametrize("name", ["add", "update"])
async def test_an_append_that_is_cancelled_while_it_is_written_is_kept_and_comes_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        slow = Slow(monkeypatch, name)
        await slow.cancels(asyncio.ensure_future(box.append(ops.set("/n", 1))))
        assert box.state == {"n": 1}
        await box.flush()
        in_memory, in_file = await held(box)
        assert in_memory == in_file and not box.queued
        assert log.state == box.state == {"n": 1}
        assert (await box.append(ops.increment("/n"))).seq == 2


async def test_a_reconciliation_that_is_cancelled_as_it_ends_keeps_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        await box.go_offline()
        await box.append(ops.set("/n", 1))
        await Slow(monkeypatch, "begin_round").cancels(asyncio.ensure_future(box.reconcile()))
        assert box.is_online and box.last_report is not None
        assert [each.fate for each in box.last_report.settled] == [Fate.APPENDED]
    async with opened(log, tmp_path) as box:
        assert box.is_online and box.last_report is not None and len(box.last_report.settled) == 1


async def test_what_is_sent_when_its_caller_is_cancelled_comes_home(tmp_path: Path) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        log.gate.clear()
        appending = asyncio.ensure_future(box.append(ops.set("/n", 1)))
        await log.asked.wait()
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        log.gate.set()
        await until(lambda: not box.queued)
        assert box.seq == log.seq == 1


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what an outbox does behind its caller's back tells nobody
        await asyncio.sleep(0.001)


async def test_a_refusal_in_the_middle_is_seen_though_something_is_added_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.refuses["large"] = Invalid("too large", reason=Reason.TOO_LARGE)
    async with opened(log, tmp_path, write_back=True) as box:
        log.gate.clear()
        await box.append(ops.set("/bad", 1), cause="large")
        await log.asked.wait()
        added, go_on = asyncio.Event(), asyncio.Event()
        real = Outbox._run

        async def late(box: Outbox, work: Callable[[], object]) -> object:
            done = await real(box, work)
            if asyncio.current_task() is not box._sender and not added.is_set():
                added.set()
                await go_on.wait()
            return done

        monkeypatch.setattr(Outbox, "_run", late)
        appending = asyncio.ensure_future(box.append(ops.set("/good", 2)))
        await added.wait()
        monkeypatch.setattr(Outbox, "_run", real)
        log.gate.set()
        await until(lambda: bool(box.refused))
        go_on.set()
        await appending
        await box.flush()
        assert box.state == log.state == {"good": 2}
        await box.discard()
        assert not box._refusals


async def test_opened_while_cut_off_it_is_online_again_once_nodes_answer(tmp_path: Path) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        await box.append(ops.set("/n", 1))
    log.down = True
    async with opened(log, tmp_path) as box:
        assert not box.is_online and not box.queued
        assert (await box.append(ops.increment("/n"))).seq is None
        log.down = False
        await box.wait_online()
        assert log.state == {"n": 2} and box.seq == 2
    log.down = True
    async with opened(log, tmp_path) as box:
        assert not box.is_online
        log.down = False
        await box.wait_online()


async def test_who_may_not_go_offline_does_not_by_being_opened_again(tmp_path: Path) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        await box.append(ops.set("/n", 1))
        log.down = True
        assert (await box.append(ops.increment("/n"))).seq is None
    async with opened(log, tmp_path, auto_offline=False) as box:
        assert box.is_online and len(box.queued) == 1
        with pytest.raises(Unavailable):
            await box.append(ops.increment("/n"))
        assert len(box.queued) == 1 and box.state == {"n": 2}


async def test_nothing_more_is_sent_once_it_went_offline(tmp_path: Path) -> None:
    log = Log()
    async with opened(log, tmp_path, write_back=True) as box:
        log.gate.clear()
        for n in range(5):
            await box.append(ops.set("/n", n))
        await log.asked.wait()
        going = asyncio.ensure_future(box.go_offline())
        await until(lambda: not box.is_online)
        log.gate.set()
        await going
        assert log.seq == 1 and len(box.queued) == 4
        await box.reconcile()
        assert log.seq == 5


class Full:
    """A disk without room from the k-th change of the file on, for as long as it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for name in ("add", "update", "remove", "begin_round"):
            self._fill(monkeypatch, name)

    def _fill(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(OutboxFile, name)

        def checked(file: OutboxFile, *args: object, **named: object) -> object:
            if self.left == 0:
                raise Overloaded("no room", reason=Reason.DISK_FULL)
            self.left -= 1
            return real(file, *args, **named)

        monkeypatch.setattr(OutboxFile, name, checked)


@pytest.mark.parametrize("auto_offline", [True, False])
@pytest.mark.parametrize("k", range(4))
async def test_on_a_full_disk_what_was_told_is_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int, *, auto_offline: bool
) -> None:
    log, full = Log(), Full(monkeypatch)
    async with opened(log, tmp_path, auto_offline=auto_offline) as box:
        full.left = k
        try:
            await box.append(ops.increment("/n"))
            is_kept = True
        except Undecided:
            is_kept = True
        except Overloaded:
            is_kept = False
        assert box.state == ({"n": 1} if is_kept else {})
        full.left = -1
        await box.flush()
        assert log.state == box.state
    async with opened(log, tmp_path) as box:
        await box.flush()
        assert log.state == box.state == ({"n": 1} if is_kept else {})
        assert log.seq == box.seq == int(is_kept)


async def test_a_closed_outbox_takes_nothing_and_its_file_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    async with opened(log, tmp_path) as box:
        slow = Slow(monkeypatch, "close")
        await slow.cancels(asyncio.ensure_future(box.__aexit__(None, None, None)))
        with pytest.raises(Unavailable):
            await box.append(ops.set("/n", 1))
    async with opened(log, tmp_path) as box:
        assert box.is_online
