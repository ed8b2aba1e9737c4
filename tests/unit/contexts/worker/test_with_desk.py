"""The supervisor, a real worker and the real desk, on the event loop that nodes run on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pycrdt
import pytest
import uvloop

from tallystick.errors import Invalid, Reason, Unavailable
from tallystick.worker.v1.worker_pb2 import ORIGIN_CLIENT, Request
from tallystick_node.contexts.limits import FIRST_WRITER
from tallystick_node.contexts.worker.process import LOCK_NAME
from tallystick_node.contexts.worker.supervisor import COMMAND as REAL
from tallystick_node.contexts.worker.supervisor import Supervisor
from tests.unit.contexts.worker.kit import COMMAND, GUID, NOW_MS, WITHIN_S, diff, running, until

KILLER: Final = bytes.fromhex("0103080001010161ffffffff0f08010161017e08010161017e00")
"""26 bytes that end a process in which pycrdt merges and reads them."""


def on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    """Runs it on uvloop, as `tallystick serve` does."""

    async def run() -> None:
        await scenario()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def edit(update: bytes, writer: int) -> Request:
    """A client's edit."""
    request = Request()
    request.merge.id.guid = GUID
    request.merge.id.epoch = 1
    request.merge.origin = ORIGIN_CLIENT
    request.merge.update = update
    request.merge.edit.writer = writer
    request.merge.edit.actor = f"agent {writer}"
    request.merge.now_unix_ms = NOW_MS
    return request


async def answered(supervisor: Supervisor, request: Request) -> None:
    """Asks until there is an answer, as callers do."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await supervisor.ask(request)
            except Unavailable:
                await until(lambda: supervisor.is_up, "the worker is up")
            else:
                return


async def whole(supervisor: Supervisor) -> pycrdt.Doc[pycrdt.Map[object]]:
    """The document as the worker has it."""
    doc = pycrdt.Doc[pycrdt.Map[object]]()
    doc.apply_update((await supervisor.ask(diff())).data.data)
    return doc


def test_no_answered_merge_is_lost_by_kills(tmp_path: Path) -> None:
    async def agent(supervisor: Supervisor, writer: int, merged: dict[str, int]) -> None:
        doc = pycrdt.Doc[pycrdt.Map[object]](client_id=writer)
        entries = doc.get("entries", type=pycrdt.Map[object])
        for number in range(60):
            before = doc.get_state()
            entries[f"{writer}/{number}"] = number
            await answered(supervisor, edit(doc.get_update(before), writer))
            merged[f"{writer}/{number}"] = number

    async def kill(supervisor: Supervisor, merged: dict[str, int], death: int) -> None:
        await until(lambda: len(merged) >= 30 * death and supervisor.is_up, "there is something to lose")
        os.kill(supervisor.status.pid, signal.SIGKILL)
        await until(lambda: supervisor.status.restarts >= death, "it is started again")

    async def killer(supervisor: Supervisor, merged: dict[str, int]) -> None:
        for death in range(1, 4):
            await kill(supervisor, merged, death)

    async def scenario() -> None:
        merged: dict[str, int] = {}
        async with running(tmp_path, command=REAL) as supervisor:
            async with asyncio.TaskGroup() as tasks:
                for writer in range(FIRST_WRITER, FIRST_WRITER + 3):
                    tasks.create_task(agent(supervisor, writer, merged))
                tasks.create_task(killer(supervisor, merged))
            found = (await whole(supervisor)).get("entries", type=pycrdt.Map[object]).to_py()
            assert found == merged
            assert supervisor.status.set_aside == 0  # SIGKILL came from outside, and nobody is blamed for it

    on_uvloop(scenario)


def test_what_would_kill_the_process_is_refused_before_that(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, command=REAL) as supervisor:
            with pytest.raises(Invalid) as caught:
                await supervisor.ask(edit(KILLER, 1))
            assert caught.value.reason is Reason.MALFORMED_UPDATE
            await supervisor.ask(diff())
            assert supervisor.status.restarts == 0

    on_uvloop(scenario)


def test_a_database_that_is_none_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "contexts.db").write_bytes(b"no database at all " * 500)
        async with running(tmp_path, command=REAL) as supervisor:
            await supervisor.ask(diff())
        assert (tmp_path / "contexts.db.damaged").read_bytes().startswith(b"no database")

    on_uvloop(scenario)


def has_open(supervisor: Supervisor, path: Path) -> bool:
    """Whether its worker has a file open."""
    child = supervisor._child
    folder = Path(f"/proc/{child.pid if child is not None else 0}/fd")
    with contextlib.suppress(FileNotFoundError):
        return any(name.resolve() == path for name in folder.iterdir())
    return False


@contextlib.asynccontextmanager
async def two_on(folder: Path) -> AsyncIterator[tuple[Supervisor, Supervisor]]:
    """One whose worker stands, and another on the same folder."""
    async with running(folder, command=REAL) as one:
        os.kill(one.status.pid, signal.SIGSTOP)
        other = Supervisor(folder, has_peers=True, clock=lambda: 0.0, unix_ms=lambda: NOW_MS)
        task = asyncio.create_task(other.run())
        try:
            yield one, other
        finally:
            task.cancel()
            await asyncio.wait((task,))


def test_a_worker_waits_for_one_that_is_not_quite_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two_on(tmp_path) as (one, other):
            pid = one.status.pid
            await until(lambda: has_open(other, tmp_path / LOCK_NAME), "the other one is at the lock")
            assert not other.is_up
            os.kill(pid, signal.SIGKILL)
            await until(lambda: one.is_up or other.is_up, "one of them has the folder")
            assert one.is_up != other.is_up

    on_uvloop(scenario)


@pytest.mark.parametrize("turns", range(24))
def test_it_can_be_cancelled_wherever_its_worker_is_on_its_way(tmp_path: Path, turns: int) -> None:
    """Some turns of the loop after it began: while the process is made, while its wire is, before it says a word."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path, has_peers=True, clock=lambda: 0.0, unix_ms=lambda: NOW_MS, command=COMMAND)
        task = asyncio.create_task(supervisor.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=WITHIN_S)
        assert done, "it hangs"
        assert supervisor.status.pid == 0

    on_uvloop(scenario)
