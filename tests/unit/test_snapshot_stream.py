"""Snapshots between nodes over real sockets: what arrives is what was sent, or nothing is left."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tallystick.peer.v1.peer_pb2 import SnapshotHead, SnapshotPart
from tallystick_node.peers import snapshot_server
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import certificate_name
from tallystick_node.peers.limits import SNAPSHOT_PART_BYTES
from tallystick_node.peers.snapshot_client import Fetched, SnapshotFailed
from tallystick_node.peers.snapshot_server import SnapshotServer
from tallystick_node.peers.tls import PeerCredentials, peer_credentials
from tallystick_node.storage.errors import DiskFull
from tests.unit.peers_kit import (
    Authority,
    Incoming,
    Recorder,
    linked,
    local,
    numbered,
    serving,
    watched_log,
)
from tests.unit.snapshot_kit import INDEX, TERM, FolderSource, asking, fetch, parts_of, telling, until

LARGE_BYTES = 20_000_000
SHORT_S = 0.2
"""Enough to fail by; nothing that should succeed depends on it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path


def _source(folder: Path, size_bytes: int = 1000, *, held: bool = False) -> FolderSource:
    return FolderSource(folder / "copies", os.urandom(size_bytes), held=held)


def _counted(b: Incoming) -> SnapshotServer:
    assert b.snapshots is not None
    return b.snapshots


async def _failure(endpoint: str, target: Path, **how: object) -> SnapshotFailed:
    with pytest.raises(SnapshotFailed) as raised:
        await fetch(endpoint, target, **how)  # type: ignore[arg-type]
    assert not await asyncio.to_thread(target.exists), "whatever goes wrong, there is no file"
    return raised.value


async def test_a_large_snapshot_arrives_while_messages_flow(folder: Path) -> None:
    source, recorder, told = _source(folder, LARGE_BYTES), Recorder(), list[tuple[int, int]]()
    async with serving("b", source=source) as b, linked(local("a"), {"b": b.endpoint}, recorder) as links:
        await recorder.up("b")

        def progress(received_bytes: int, size_bytes: int) -> None:
            told.append((received_bytes, size_bytes))
            links.send("b", numbered(len(told)))

        target = folder / "fetched"
        target.write_bytes(b"of an earlier attempt")
        fetched = await fetch(b.endpoint, target, on_progress=progress)
        assert fetched == Fetched(INDEX, TERM, LARGE_BYTES)
        assert target.read_bytes() == source.data
        assert told[0] == (0, LARGE_BYTES) and told[-1] == (LARGE_BYTES, LARGE_BYTES)
        assert len(told) > LARGE_BYTES / SNAPSHOT_PART_BYTES
        await b.recorder.got("a", len(told))
        await source.until_clear()
        counters = _counted(b).counters
        assert (counters.begun, counters.sent) == (1, 1) and counters.size_bytes > LARGE_BYTES
        assert source.asked == [INDEX]


@pytest.mark.parametrize("size_bytes", [0, 1, SNAPSHOT_PART_BYTES - 1, SNAPSHOT_PART_BYTES, SNAPSHOT_PART_BYTES + 1])
async def test_sizes_around_a_part(folder: Path, size_bytes: int) -> None:
    source = _source(folder, size_bytes)
    async with serving("b", source=source) as b:
        await fetch(b.endpoint, folder / "fetched", max_bytes=size_bytes)
        assert (folder / "fetched").read_bytes() == source.data
        if size_bytes:
            failure = await _failure(b.endpoint, folder / "fetched", max_bytes=size_bytes - 1)
            assert f"it has {size_bytes} bytes, and there is room for {size_bytes - 1}" in str(failure)


@pytest.mark.parametrize(("node_id", "refusal"), [("z", Refusal.UNKNOWN_NODE), ("b", Refusal.OWN_NODE_ID)])
async def test_who_gets_none(folder: Path, node_id: str, refusal: Refusal) -> None:
    source = _source(folder)
    async with serving("b", source=source) as b:
        failure = await _failure(b.endpoint, folder / "fetched", node_id=node_id)
        assert failure.refusal is refusal
        assert _counted(b).counters.refused == {refusal: 1}
        assert source.asked == [], "no copy is made for who gets none"


async def test_a_removed_node_gets_none_and_no_further_part(folder: Path) -> None:
    source = _source(folder, LARGE_BYTES)
    async with serving("b", source=source) as b:
        failure = await _failure(b.endpoint, folder / "fetched", on_progress=lambda *_: b.servicer.update(("b", "c")))
        assert failure.refusal is Refusal.REMOVED
        assert _counted(b).counters.sent == 0
        again = await _failure(b.endpoint, folder / "fetched")
        assert again.refusal is Refusal.REMOVED and len(source.asked) == 1


def _shows(authority: Authority, node_id: str) -> PeerCredentials:
    return peer_credentials(authority.pem, *authority.issue(certificate_name(node_id)))


@pytest.mark.parametrize(
    ("shown", "said", "refusal"),
    [
        ("a", "a", None),
        ("c", "a", Refusal.WRONG_CERTIFICATE),
        ("z", "a", Refusal.WRONG_CERTIFICATE),
        ("z", "z", Refusal.UNKNOWN_NODE),
    ],
    ids=["member", "another member's", "a stranger's, as a member", "a stranger's, as itself"],
)
async def test_a_certificate_opens_for_its_own_member_alone(
    folder: Path, shown: str, said: str, refusal: Refusal | None
) -> None:
    authority, source = Authority(), _source(folder)
    async with serving("b", credentials=_shows(authority, "b"), source=source) as b:
        shows = _shows(authority, shown)
        if refusal is None:
            await fetch(b.endpoint, folder / "fetched", node_id=said, credentials=shows)
            assert (folder / "fetched").read_bytes() == source.data
        else:
            failure = await _failure(b.endpoint, folder / "fetched", node_id=said, credentials=shows)
            assert failure.refusal is refusal
            assert source.asked == []


@pytest.mark.parametrize("wrong", ["server's name", "client's CA", "no TLS"])
async def test_what_does_not_get_through_the_handshake(folder: Path, wrong: str) -> None:
    authority, stranger, source = Authority(), Authority(), _source(folder)
    server_shows = _shows(authority, "c" if wrong == "server's name" else "b")
    shows: PeerCredentials | None = _shows(authority, "a")
    if wrong == "client's CA":
        cert_pem, key_pem = stranger.issue(certificate_name("a"))
        shows = peer_credentials(authority.pem, cert_pem, key_pem)
    elif wrong == "no TLS":
        shows = None
    async with serving("b", credentials=server_shows, source=source) as b:
        failure = await _failure(b.endpoint, folder / "fetched", credentials=shows)
        assert "UNAVAILABLE" in str(failure)
        assert source.asked == []


def _spoiled() -> dict[str, tuple[list[SnapshotPart], str]]:
    """What a node may send that is of no use, and what is said of it."""
    data = bytes(range(256)) * 20
    good = parts_of(data)
    head, body, end = good[0], good[1:-1], good[-1]
    flipped = bytearray(data)
    flipped[2500] ^= 0x10
    lower = SnapshotPart(head=SnapshotHead(index=INDEX - 1, term=TERM, size_bytes=len(data)))
    unwanted = "it ended after 5120 bytes, in the middle"
    return {
        "nothing": ([], "it ended after 0 bytes"),
        "no end": (good[:-1], unwanted),
        "truncated": ([head, *body[:2]], "it ended after 2000 bytes, in the middle"),
        "a part left out": ([head, *body[1:], end], "it ended after 4120 of 5120 bytes"),
        "a flipped byte": ([head, *parts_of(bytes(flipped))[1:-1], end], "its sha256 is not that of what was sent"),
        "two parts exchanged": ([head, body[1], body[0], *body[2:], end], "its sha256 is not"),
        "no head": ([*body, end], "the first part is not the head"),
        "two heads": ([head, head, *body, end], "a second head"),
        "the end first": ([head, end, *body], "it ended after 0 of 5120 bytes"),
        "more behind the end": ([*good, body[0]], "a part behind the end"),
        "more than announced": ([head, *body, body[0], end], "more than the 5120 bytes that were announced"),
        "an empty part": ([head, SnapshotPart(data=b""), *body, end], "an empty part"),
        "a part of nothing": ([head, SnapshotPart(), *body, end], "a part of a kind that this version does not know"),
        "an older one": ([lower, *body, end], f"it reaches entry {INDEX - 1}, and {INDEX} is needed"),
    }


@pytest.mark.parametrize("how", _spoiled())
async def test_a_bad_snapshot_is_not_taken(folder: Path, how: str) -> None:
    parts, why = _spoiled()[how]
    async with telling([part.SerializeToString() for part in parts]) as endpoint:
        failure = await _failure(endpoint, folder / "fetched")
        assert why in str(failure) and failure.refusal is None


async def test_what_is_no_part_is_not_taken(folder: Path) -> None:
    async with telling([b"\xff\xff\xff"]) as endpoint:
        assert "this is no part of a snapshot" in str(await _failure(endpoint, folder / "fetched"))


@pytest.mark.parametrize("part_count", [0, 1, 3], ids=["at once", "after the head", "in the middle"])
async def test_a_server_that_stalls_is_given_up(folder: Path, part_count: int) -> None:
    parts = [part.SerializeToString() for part in parts_of(bytes(5000))][:part_count]
    async with telling(parts, then_hangs=True) as endpoint:
        failure = await _failure(endpoint, folder / "fetched", stall_s=SHORT_S)
        assert str(failure) == f"the peer sent nothing for {SHORT_S} s"


async def test_a_server_that_is_not_there(folder: Path) -> None:
    failure = await _failure("127.0.0.1:1", folder / "fetched")
    assert "UNAVAILABLE" in str(failure) and failure.refusal is None


async def test_a_reader_that_stalls_is_given_up(folder: Path) -> None:
    source = _source(folder, LARGE_BYTES)
    async with serving("b", source=source, stall_s=SHORT_S) as b, asking(b.endpoint) as call:
        with watched_log() as log:
            assert isinstance(await call.read(), bytes)
            assert (await log.until("gave a peer no snapshot"))["refusal"] == Refusal.STALLED
        await source.until_clear()
        async with asking(b.endpoint, "c") as other:
            assert isinstance(await other.read(), bytes), "the next has its turn"
        assert _counted(b).counters.sent == 0


async def test_readers_that_stall_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_server, "SNAPSHOTS_GIVEN_UP", 1)
    source = _source(folder, LARGE_BYTES)
    async with serving("b", source=source, stall_s=SHORT_S) as b:
        server = _counted(b)
        async with asking(b.endpoint):
            await until(lambda: server._refusing == 1)
            assert server._under_way == 0
            assert (await _failure(b.endpoint, folder / "fetched")).refusal is Refusal.OVERLOADED
            assert len(source.asked) == 1
        await until(lambda: server._refusing == 0)


async def test_one_at_a_time(folder: Path) -> None:
    source = _source(folder, held=True)
    async with serving("b", source=source) as b:
        first = asyncio.create_task(fetch(b.endpoint, folder / "first"))
        await source.making.wait()
        failure = await _failure(b.endpoint, folder / "second", node_id="c")
        assert failure.refusal is Refusal.OVERLOADED
        assert "RESOURCE_EXHAUSTED" in str(failure)
        source.go.set()
        assert (await first).index == INDEX
        await source.until_clear()
        await until(lambda: _counted(b)._under_way == 0)
        await fetch(b.endpoint, folder / "second", node_id="c")
        assert (folder / "second").read_bytes() == (folder / "first").read_bytes() == source.data


async def test_what_the_source_cannot_give(folder: Path) -> None:
    source = _source(folder)
    async with serving("b", source=source, copy_s=SHORT_S) as b:
        assert (await _failure(b.endpoint, folder / "fetched", reach_index=INDEX + 1)).refusal is Refusal.BEHIND
        source.error = DiskFull(errno.ENOSPC, "no space")
        failure = await _failure(b.endpoint, folder / "fetched")
        assert failure.refusal is Refusal.OVERLOADED and "no room" in str(failure)
        source.error, source.held = None, True
        failure = await _failure(b.endpoint, folder / "fetched")
        assert failure.refusal is Refusal.OVERLOADED and f"within {SHORT_S} s" in str(failure)
        await source.until_clear()


async def test_a_stopping_node_gives_none(folder: Path) -> None:
    source = _source(folder, LARGE_BYTES)
    async with serving("b", source=source) as b:
        server = _counted(b)
        under_way = await _failure(b.endpoint, folder / "fetched", on_progress=lambda *_: server.close())
        assert under_way.refusal is Refusal.STOPPING
        assert (await _failure(b.endpoint, folder / "fetched")).refusal is Refusal.STOPPING
        assert len(source.asked) == 1


@pytest.mark.parametrize("when", ["while the copy is made", "in the middle"])
async def test_a_cancelled_fetch_leaves_nothing(folder: Path, when: str) -> None:
    source, target = _source(folder, LARGE_BYTES, held=when == "while the copy is made"), folder / "fetched"
    before = asyncio.all_tasks()
    async with serving("b", source=source) as b:
        begun = asyncio.Event()
        fetching = asyncio.create_task(fetch(b.endpoint, target, on_progress=lambda *_: begun.set()))
        await (source.making if source.held else begun).wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert not target.exists()
        await source.until_clear()
        await until(lambda: _counted(b)._under_way == 0)
        assert _counted(b).counters.sent == 0
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_disk_that_cannot_be_written(folder: Path) -> None:
    async with serving("b", source=_source(folder)) as b:
        failure = await _failure(b.endpoint, folder / "missing" / "fetched")
        assert "No such file or directory" in str(failure)


async def test_a_progress_that_raises_leaves_no_file(folder: Path) -> None:
    def progress(received_bytes: int, size_bytes: int) -> None:
        raise ValueError("a bug")

    async with serving("b", source=_source(folder)) as b:
        with pytest.raises(ValueError, match="a bug"):
            await fetch(b.endpoint, folder / "fetched", on_progress=progress)
        assert not (folder / "fetched").exists()
