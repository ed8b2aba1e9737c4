"""Payloads in the client: what travels, what is checked, what is gone on with. Nodes and their faults are scripted."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tallystick import (
    JSON,
    Conflict,
    Corrupt,
    Invalid,
    NotFound,
    PayloadProgress,
    PayloadRef,
    QuotaExceeded,
    Reason,
    sync,
)
from tallystick.payloads import download, upload
from tallystick.payloads.files import part_of
from tallystick.payloads.manifest import Chunk, chunk_of, id_of, pack, unpack
from tests.unit.client_kit import DEADLINE_S
from tests.unit.payload_kit import PayloadNode, payload_nodes

CONTENT = random.Random(3).randbytes(1_500_000)


def found_bytes(nodes: list[PayloadNode]) -> int:
    """What travelled to the nodes."""
    return sum(sum(sizes) for node in nodes for sizes in node.put_sizes)


def test_a_manifest_is_canonical_and_believed_only_for_its_payload() -> None:
    chunks = [chunk_of(b"one"), chunk_of(b"two!")]
    manifest = pack(chunks)
    assert manifest[:36] == hashlib.sha256(b"one").digest() + b"\0\0\0\3"
    assert id_of(manifest) == hashlib.sha256(b"tallystick payload 1\n" + manifest).digest()
    assert unpack(manifest, id_of(manifest)) == chunks
    with pytest.raises(Corrupt):
        unpack(pack([Chunk(chunks[0].hash, 4)]), id_of(manifest))


@pytest.mark.parametrize("size_bytes", [0, 1, 20_000, len(CONTENT)])
async def test_what_was_put_is_got(size_bytes: int, tmp_path: Path) -> None:
    content = CONTENT[:size_bytes]
    (tmp_path / "in").write_bytes(content)
    async with payload_nodes() as (client, _):
        ref = await client.payloads.put(content)
        assert ref.size_bytes == size_bytes
        assert await client.payloads.put(tmp_path / "in") == ref
        assert await client.payloads.put(str(tmp_path / "in")) == ref
        assert await client.payloads.put(bytearray(content)) == await client.payloads.put(memoryview(content)) == ref
        assert await client.payloads.get(ref) == content
        assert b"".join([piece async for piece in client.payloads.open(ref)]) == content
        await client.payloads.save(ref, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == content
        assert (await client.payloads.describe(ref)).ref == ref


async def test_iterators_of_both_kinds_are_read_once() -> None:
    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(CONTENT), 70_001):
            yield CONTENT[begin : begin + 70_001]

    async def slowly() -> AsyncIterator[bytes]:
        for piece in pieces():
            await asyncio.sleep(0)
            yield piece

    async with payload_nodes() as (client, _):
        whole = await client.payloads.put(CONTENT)
        assert await client.payloads.put(pieces()) == whole
        assert await client.payloads.put(slowly()) == whole


async def test_only_what_is_missing_travels_and_progress_says_so() -> None:
    told: list[PayloadProgress] = []
    async with payload_nodes() as (client, nodes):
        await client.payloads.put(CONTENT, progress=told.append)
        assert told[-1] == PayloadProgress(len(CONTENT), len(CONTENT), len(CONTENT))
        assert found_bytes(nodes) == len(CONTENT)
        told.clear()
        edited = CONTENT[:700_000] + b"an edit" + CONTENT[700_000:]
        ref = await client.payloads.put(edited, progress=told.append)
        assert told[-1].done_bytes == told[-1].total_bytes == len(edited)
        assert 0 < told[-1].moved_bytes < 600_000
        assert found_bytes(nodes) == len(CONTENT) + told[-1].moved_bytes
        assert await client.payloads.get(ref) == edited


async def test_equal_chunks_of_one_payload_travel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "BATCH_BYTES", 200_000)
    async with payload_nodes() as (client, nodes):
        ref = await client.payloads.put(bytes(3_000_000))
        assert found_bytes(nodes) < 600_000
        assert nodes[0].asked == 2
        assert await client.payloads.get(ref) == bytes(3_000_000)


async def test_requests_stay_below_the_limits_and_few_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "BATCH_BYTES", 200_000)
    content = random.Random(4).randbytes(6_000_000)
    async with payload_nodes() as (client, nodes):
        node = nodes[0]
        node.gate.clear()
        putting = asyncio.create_task(client.payloads.put(content))
        await node.until_at_once(upload.BATCHES_AT_ONCE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await node.until_at_once(upload.BATCHES_AT_ONCE + 1)
        asked = node.asked
        node.gate.set()
        await putting
        assert node.most_at_once <= upload.BATCHES_AT_ONCE
        assert asked < 40 < node.asked  # who cuts waits for who sends
        assert max(sum(sizes) for sizes in node.put_sizes) <= 512 * 1024


async def test_small_chunks_are_many_to_a_request() -> None:
    requests = list(upload._requests([b"x" * 1_000] * 130 + [b"y" * 262_144] * 5))
    assert [len(each.chunks) for each in requests] == [64, 64, 3, 2, 2]
    assert all(sum(map(len, each.chunks)) <= 512 * 1024 for each in requests)


async def test_who_fails_to_read_is_told_and_nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "BATCH_BYTES", 500_000)

    async def failing() -> AsyncIterator[bytes]:
        yield CONTENT
        raise OSError("the disk is gone")

    async with payload_nodes() as (client, nodes):
        nodes[0].gate.clear()
        with pytest.raises(OSError, match="gone"):
            async with asyncio.timeout(DEADLINE_S / 2):
                await client.payloads.put(failing())
        with pytest.raises(FileNotFoundError):
            await client.payloads.put("/nowhere/at/all")
        assert nodes[0].store.manifests == {}
        assert [task for task in asyncio.all_tasks() if "_send" in repr(task)] == []


async def test_a_payload_of_too_many_bytes_is_refused_before_it_is_sent_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAYLOAD_BYTES", 1_000_000)
    async with payload_nodes() as (client, _):
        with pytest.raises(QuotaExceeded) as caught:
            await client.payloads.put(CONTENT)
        assert caught.value.reason is Reason.PAYLOAD_QUOTA


async def test_what_was_collected_in_between_is_put_once_more_if_it_can_be_read_again() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield CONTENT

    async with payload_nodes() as (client, nodes):
        nodes[0].loses = 1
        ref = await client.payloads.put(CONTENT)
        assert await client.payloads.get(ref) == CONTENT
        nodes[0].loses = 1
        with pytest.raises(Conflict):
            await client.payloads.put(once())
        nodes[0].loses = 2
        with pytest.raises(Conflict):
            await client.payloads.put(CONTENT)


@pytest.mark.parametrize("fault", ["break", "spoil", "end"])
async def test_a_stream_that_fails_is_begun_again_behind_the_last_whole_chunk(fault: str) -> None:
    async with payload_nodes(2) as (client, nodes):
        ref = await client.payloads.put(CONTENT)
        for node in nodes:
            node.stream_faults.append((fault, 400_000))
        assert await client.payloads.get(ref) == CONTENT
        offsets = [offset for node in nodes for offset in node.offsets]
        assert offsets.count(0) == 1
        assert len(offsets) == 3
        assert max(offsets) > 300_000


async def test_a_stream_that_stands_still_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.05)
    async with payload_nodes() as (client, nodes):
        ref = await client.payloads.put(CONTENT)
        nodes[0].stream_faults.append(("stop", 400_000))
        assert await client.payloads.get(ref) == CONTENT


async def test_what_no_node_has_whole_is_corrupt() -> None:
    async with payload_nodes() as (client, nodes):
        ref = await client.payloads.put(CONTENT)
        nodes[0].stream_faults.extend([("spoil", 0)] * 1000)
        with pytest.raises(Corrupt):
            await client.payloads.get(ref, timeout_s=0.3)


async def test_a_file_is_gone_on_with_where_it_ended_and_what_is_wrong_there_is_fetched_anew(tmp_path: Path) -> None:
    async with payload_nodes() as (client, nodes):
        ref = await client.payloads.put(CONTENT)
        target = tmp_path / "copy"
        part = part_of(target, bytes.fromhex(ref.id))
        nodes[0].stream_faults.extend([("break", 700_000)] + [("break", 0)] * 1000)
        told: list[PayloadProgress] = []
        with pytest.raises(Exception, match="broken"):
            await client.payloads.save(ref, target, timeout_s=0.3)
        assert not target.exists()
        left = part.read_bytes()
        assert 500_000 < len(left) < 700_000
        nodes[0].stream_faults.clear()
        part.write_bytes(left[:400_000] + b"!" + left[400_001:])
        await client.payloads.save(ref, target, progress=told.append)
        assert target.read_bytes() == CONTENT
        assert not part.exists()
        assert 100_000 < told[0].done_bytes <= 400_000
        assert told[0].moved_bytes == 0
        assert nodes[0].offsets[-1] == told[0].done_bytes
        assert told[-1].done_bytes == len(CONTENT)


async def test_a_coroutine_function_may_be_told_too() -> None:
    told: list[int] = []

    async def tell(progress: PayloadProgress) -> None:
        await asyncio.sleep(0)
        told.append(progress.done_bytes)

    async with payload_nodes() as (client, _):
        ref = await client.payloads.put(CONTENT)
        await client.payloads.get(ref, progress=tell)
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)


async def test_payloads_are_listed_page_by_page() -> None:
    async with payload_nodes() as (client, _):
        refs = [await client.payloads.put(b"%d" % number) for number in range(5)]
        listed = [info.ref async for info in client.payloads.list()]
        assert sorted(listed, key=lambda ref: ref.id) == listed
        assert set(listed) == set(refs)
        assert await client.payloads.stored_bytes() == 5


async def test_who_is_not_there_is_not_found_and_what_is_no_name_is_invalid() -> None:
    async with payload_nodes() as (client, _):
        with pytest.raises(NotFound) as caught:
            await client.payloads.get(PayloadRef("0" * 64, 1))
        assert caught.value.reason is Reason.PAYLOAD_NOT_FOUND
        wrongs: list[JSON] = [None, "x", {}, {"$payload": "x", "size_bytes": 1}, {"$payload": "0" * 64}]
        for wrong in wrongs:
            with pytest.raises(Invalid):
                await client.payloads.get(wrong)


def test_a_name_is_the_object_that_stands_for_it() -> None:
    ref = PayloadRef("ab" * 32, 5)
    stands = {"$payload": "ab" * 32, "size_bytes": 5}
    assert ref == stands
    assert stands == ref
    assert PayloadRef.of(stands) == PayloadRef.of(ref) == ref
    assert dict(ref) == stands
    assert len({ref, PayloadRef.of(stands)}) == 1
    assert ref != PayloadRef("ab" * 32, 6)
    with pytest.raises(Invalid):
        PayloadRef("AB" * 32, 5)
    with pytest.raises(Invalid):
        PayloadRef("ab" * 32, -1)


async def test_the_blocking_twin_tells_of_progress_on_the_thread_that_waits(tmp_path: Path) -> None:
    def use(endpoint: str) -> None:
        told: list[int] = []

        def tell(progress: PayloadProgress) -> None:
            assert threading.current_thread() is mine
            told.append(progress.done_bytes)

        mine = threading.current_thread()
        with sync.connect(endpoint, namespace="demo") as client:
            ref = client.payloads.put((CONTENT[:600_000], CONTENT[600_000:]), progress=tell)
            assert client.payloads.get(ref, progress=tell) == CONTENT
            with client.payloads.open(ref) as pieces:
                assert len(next(pieces)) <= 256 * 1024
            client.payloads.save(ref, tmp_path / "copy", progress=tell)
            assert (tmp_path / "copy").read_bytes() == CONTENT
            assert [info.ref for info in client.payloads.list()] == [ref]
        assert told.count(len(CONTENT)) == 3

    async with payload_nodes() as (_, nodes):
        await asyncio.to_thread(use, nodes[0].endpoint)
