"""The supervisor and a real worker process, with a stand-in for the desk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tallystick.errors import Invalid, NotFound, Overloaded, Reason, Unavailable
from tallystick.worker.v1.worker_pb2 import Request
from tallystick_node.contexts.limits import WORKER_REQUESTS
from tallystick_node.contexts.worker.supervisor import Supervisor
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat
from tests.unit.contexts.worker.kit import GUID, WITHIN_S, diff, merge, running, stored, until
from tests.unit.contexts.worker.stand_in import BAD_DOCUMENT, DAMAGED, DATA_BYTES, NEWER


async def up_again(supervisor: Supervisor, starts: int) -> None:
    """Waits for so many restarts."""
    await until(lambda: supervisor.is_up and supervisor.status.restarts >= starts, f"restart {starts}")


async def down(supervisor: Supervisor, request: Request) -> None:
    """Asks what ends with the worker's death."""
    with pytest.raises(Unavailable) as caught:
        await supervisor.ask(request)
    assert caught.value.reason is Reason.WORKER_DOWN


async def test_answers_in_order_and_in_batches(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        updates = [b"u%d" % number for number in range(500)]
        answers = await asyncio.gather(*(supervisor.ask(merge(update)) for update in updates))
        assert stored(tmp_path) == updates
        assert max(answer.merged.number for answer in answers) > 1  # pipelined: several to one commit
        assert supervisor.status.requests == 0
        assert supervisor.status.request_bytes == 0


async def test_a_refusal_is_raised_as_its_reason_says(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        request = Request()
        request.describe.id.guid = GUID
        with pytest.raises(NotFound) as caught:
            await supervisor.ask(request)
        assert caught.value.reason is Reason.CONTEXT_NOT_FOUND


async def test_large_answers_come_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        answers = await asyncio.gather(*(supervisor.ask(diff(state_vector=b"much")) for _ in range(40)))
        assert {len(answer.data.data) for answer in answers} == {DATA_BYTES}


async def test_too_much_at_once_is_refused_and_the_rest_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        asked = [asyncio.ensure_future(supervisor.ask(merge(b"u%d" % n))) for n in range(WORKER_REQUESTS + 10)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[WORKER_REQUESTS:]] == [Overloaded] * 10
        assert len(stored(tmp_path)) == WORKER_REQUESTS


async def test_bytes_under_way_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        asked = [asyncio.ensure_future(supervisor.ask(merge(b"u" * (1 << 20)))) for _ in range(40)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert len(refused) == 40 - len(stored(tmp_path))
        assert 8 <= len(refused) <= 10


async def test_who_no_longer_waits_takes_no_room(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        asked = asyncio.ensure_future(supervisor.ask(merge(b"left")))
        await asyncio.sleep(0)
        asked.cancel()
        await supervisor.ask(merge(b"next"))
        assert stored(tmp_path) == [b"left", b"next"]
        assert supervisor.status.requests == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_killed_worker_is_started_again(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path) as supervisor:
        await supervisor.ask(merge(b"before"))
        pid = supervisor.status.pid
        os.kill(pid, number)
        await up_again(supervisor, 1)
        assert supervisor.status.pid != pid
        await supervisor.ask(merge(b"after"))
        assert stored(tmp_path) == [b"before", b"after"]
        assert supervisor.status.set_aside == 0


async def test_what_is_under_way_fails_when_the_worker_dies(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        asked = [asyncio.ensure_future(down(supervisor, merge(update))) for update in (b"stall", b"next")]
        await asyncio.sleep(0)
        os.kill(supervisor.status.pid, signal.SIGKILL)
        await asyncio.gather(*asked)
        await down(supervisor, merge(b"too early"))  # the next one has not started yet
        await up_again(supervisor, 1)
        await supervisor.ask(merge(b"next"))
        assert stored(tmp_path) == [b"next"]


async def test_a_poisonous_update_is_set_aside_and_no_other(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        poison, others = merge(b"abort it"), [merge(b"u%d" % number) for number in range(5)]
        asked = (supervisor.ask(request) for request in (*others[:2], poison, *others[2:]))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(outcomes[2], Unavailable)
        await up_again(supervisor, 1)
        await asyncio.gather(*(supervisor.ask(request) for request in others))
        with pytest.raises(Invalid) as caught:
            await supervisor.ask(poison)
        assert caught.value.reason is Reason.MALFORMED_UPDATE
        await up_again(supervisor, 2)
        with pytest.raises(Invalid):
            await supervisor.ask(poison)
        await asyncio.gather(*(supervisor.ask(request) for request in others))
        assert supervisor.status.restarts == 2  # it was not tried again
        assert supervisor.status.set_aside == 1
    (kept,) = (tmp_path / "aside").glob("*.bin")
    assert kept.read_bytes() == b"abort it"
    record = json.loads(kept.with_suffix(".json").read_text())
    assert record["actor"] == "ann" and record["how"] == "SIGABRT" and record["guid"] == GUID.hex()
    async with running(tmp_path) as supervisor:
        with pytest.raises(Invalid):
            await supervisor.ask(poison)
        assert supervisor.status.restarts == 0  # a node that starts again knows it still


async def test_sigkill_alone_convicts_nobody_until_it_happens_again_and_again(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        for death in range(1, 4):
            await down(supervisor, merge(b"kill"))
            assert supervisor.status.set_aside == 0
            await up_again(supervisor, death)
        with pytest.raises(Invalid):
            await supervisor.ask(merge(b"kill"))
        await up_again(supervisor, 4)
        assert supervisor.status.set_aside == 1


async def test_a_document_that_kills_when_read_is_refused_until_it_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        await down(supervisor, merge(b"innocent", BAD_DOCUMENT))
        await up_again(supervisor, 1)
        await down(supervisor, merge(b"innocent", BAD_DOCUMENT))  # the probe dies
        await up_again(supervisor, 2)
        for request in (merge(b"innocent", BAD_DOCUMENT), diff(BAD_DOCUMENT)):
            with pytest.raises(Unavailable) as caught:
                await supervisor.ask(request)
            assert caught.value.reason is Reason.CONTEXT_DAMAGED
        await supervisor.ask(merge(b"innocent"))  # the update itself is not to blame
        assert supervisor.status.restarts == 2
        forget = Request()
        forget.forget.guid = BAD_DOCUMENT
        await supervisor.ask(forget)
        await down(supervisor, diff(BAD_DOCUMENT))  # it is asked again, and is as bad as before


async def refused(supervisor: Supervisor, request: Request) -> None:
    """Asks until the request is refused, whatever the worker dies of meanwhile."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            await until(lambda: supervisor.is_up, "the worker is up")
            try:
                await supervisor.ask(request)
            except Unavailable:
                continue
            except Invalid:
                return


async def test_a_worker_that_spins_is_killed_and_what_it_spins_at_refused(tmp_path: Path) -> None:
    async with running(tmp_path, silent_s=0.5) as supervisor:
        await refused(supervisor, merge(b"spin"))
        assert supervisor.status.set_aside == 1
        await up_again(supervisor, 2)


async def test_a_worker_that_stalls_is_killed_but_its_update_may_be_innocent(tmp_path: Path) -> None:
    async with running(tmp_path, silent_s=0.5) as supervisor:
        for death in (1, 2):
            await down(supervisor, merge(b"stall"))
            await up_again(supervisor, death)
        assert supervisor.status.set_aside == 0


async def test_a_clean_end_answers_what_was_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        asked = [asyncio.ensure_future(supervisor.ask(merge(b"u%d" % number))) for number in range(50)]
        await asyncio.sleep(0)
    assert all(answer.HasField("merged") for answer in await asyncio.gather(*asked))
    with pytest.raises(Unavailable) as caught:
        await supervisor.ask(merge(b"late"))
    assert caught.value.reason is Reason.STOPPING


async def test_a_worker_outlives_signals_meant_for_its_node(tmp_path: Path) -> None:
    async with running(tmp_path) as supervisor:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(supervisor.status.pid, number)
        await supervisor.ask(merge(b"on"))
        assert supervisor.status.restarts == 0


async def test_damage_is_put_aside_where_others_have_the_documents(tmp_path: Path) -> None:
    (tmp_path / DAMAGED).touch()
    async with running(tmp_path) as supervisor:
        await supervisor.ask(merge(b"on"))
    assert (tmp_path / "damaged.aside").exists()


@pytest.mark.parametrize(
    ("name", "has_peers", "error"), [(DAMAGED, False, DatabaseDamaged), (NEWER, True, UnknownFormat)]
)
async def test_what_cannot_be_opened_ends_the_node(
    tmp_path: Path, name: str, has_peers: bool, error: type[Exception]
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(error):
        async with running(tmp_path, has_peers=has_peers):
            pass


async def test_a_worker_dies_with_its_node(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.unit.contexts.worker.holder", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    pid = int(await holder.stdout.readline())
    assert is_alive(pid)
    holder.kill()
    await holder.wait()
    await until(lambda: not is_alive(pid), "the worker is gone")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waits for any more does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
