"""Contexts over the wire of real nodes: edits are seen, refused, acknowledged, and survive whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from tallystick import Reason
from tallystick.v1 import context_pb2
from tests.cluster.harness import Cluster
from tests.cluster.harness_contexts import LOCAL, QUORUM, WAIT_S, calling, kill_worker, worker_pid
from tests.cluster.harness_grpc import refusal

KILLER = bytes.fromhex("0103080001010161ffffffff0f08010161017e08010161017e00")
"""26 bytes that end a process which applies them."""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster of one node; each test has a context of its own there."""
    folder = tmp_path_factory.mktemp("one")
    async with Cluster(folder, node_ids=("a",), flags=["--contexts"]) as cluster:
        await worker_pid(cluster, "a")
        yield cluster


async def test_two_subscribers_of_one_node_and_what_is_refused(one: Cluster) -> None:
    async with calling(one, "a", "two-subscribers-of-one") as ann, ann.stream() as first, ann.stream() as second:
        await first.until("part")
        await second.until("part")
        number = first.send(first.replica.set("k", "v"), cause="a test")
        assert (await first.until_acked(number, LOCAL)).cursor.number == 1
        await first.until_acked(number, QUORUM)
        pushed = (await second.until("pushed")).pushed
        assert second.replica.content() == {"k": "v"}
        assert (pushed.edit.actor, pushed.edit.cause, pushed.edit.node_id) == ("ann", "a test", "a")
        assert pushed.edit.writer == first.replica.writer

        first.send(KILLER)
        first.send(second.replica.set("foreign", 1))
        refused = [(await first.until("refused")).refused.error.reason for _ in range(2)]
        assert refused == [Reason.MALFORMED_UPDATE, Reason.FOREIGN_WRITER]
        await first.until_acked(first.send(first.replica.set("k2", 2)))
        await second.until_holds("k2", 2)
        assert await ann.content() == {"k": "v", "k2": 2}
        assert "pushed" not in [response.WhichOneof("body") for response in first.seen]


async def test_a_worker_killed_under_edits_loses_none_that_was_acknowledged(one: Cluster) -> None:
    async with calling(one, "a", "a-worker-killed-under") as ann, ann.stream() as first, ann.stream() as second:
        await second.until("part")
        sent: dict[int, str] = {}
        for round_ in range(2):
            for n in range(100):
                key = f"{round_}/{n}"
                sent[first.send(first.replica.set(key, n))] = key
            await first.until_acked(max(sent) - 99)  # some of this round
            pid = await kill_worker(one, "a")
            await worker_pid(one, "a", other_than=pid)
        await first.until_acked(max(sent))
        assert (await ann.content()).keys() == set(sent.values())
        status = await one.status("a")
        assert status is not None
        assert status.contexts is not None
        assert (status.contexts.is_up, status.contexts.worker_restarts, status.contexts.subscribers) == (True, 2, 2)
        await second.until_holds("1/99", 99)
        assert second.replica.content() == first.replica.content()


async def test_a_node_killed_under_edits_has_all_that_it_acknowledged(one: Cluster) -> None:
    async with calling(one, "a", "a-node-killed-under") as ann, ann.stream() as stream:
        for n in range(300):
            stream.send(stream.replica.set(f"k{n}", n))
        acked = await stream.until_acked(100)
        pid = await worker_pid(one, "a")
        one.kill("a")
        writer = stream.replica.writer
    await one.start("a")
    await one.wait_for_leader()
    await worker_pid(one, "a", other_than=pid)
    async with calling(one, "a", "a-node-killed-under") as ann:
        held = await ann.content()
        assert {f"k{n}" for n in range(acked.number)} <= held.keys()
        async with ann.stream() as again:
            await again.until("part")
            assert again.replica.content() == held
            assert len(held) <= 300
            assert writer != again.replica.writer


async def test_a_document_larger_than_a_part_comes_in_parts(one: Cluster) -> None:
    async with calling(one, "a", "a-document-larger-than") as ann:
        async with ann.stream() as stream:
            numbers = [stream.send(stream.replica.set(f"k{n}", "x" * 200_000)) for n in range(6)]
            await stream.until_acked(numbers[-1])
        async with ann.stream() as late:
            while not (part := (await late.until("part")).part).is_last:
                pass
            assert len(late.replica.content()) == 6
            assert len([each for each in late.seen if each.WhichOneof("body") == "part"]) >= 4
            assert [edit.actor for edit in part.edits] == ["ann"] * len(part.edits)


async def test_presence_is_told_and_gone_with_its_stream(one: Cluster) -> None:
    async with calling(one, "a", "presence-is-told-and") as ann:
        writer = ann.replica().writer
        looks = ann.stub.Presence(_saying(context_pb2.PresenceOpen(context=ann.context, actor="ann")))
        assert not await _states(looks)
        opening = context_pb2.PresenceOpen(context=ann.context, actor="ann", writer=writer)
        state = context_pb2.PresenceState(writer=writer, clock=1, state=b'{"doing":"tests"}')
        is_here = ann.stub.Presence(_saying(opening, state))
        (seen,) = await _states(looks)
        assert (seen.writer, seen.state, seen.actor) == (writer, b'{"doing":"tests"}', "ann")
        is_here.cancel()
        (gone,) = await _states(looks)
        assert (gone.writer, gone.state) == (writer, b"")
        looks.cancel()


async def _saying(
    opening: context_pb2.PresenceOpen, *states: context_pb2.PresenceState
) -> AsyncIterator[context_pb2.PresenceRequest]:
    """Says this, and stays."""
    yield context_pb2.PresenceRequest(open=opening)
    for state in states:
        yield context_pb2.PresenceRequest(state=state)
    await asyncio.Event().wait()


async def _states(
    stream: grpc.aio.StreamStreamCall[context_pb2.PresenceRequest, context_pb2.PresenceResponse],
) -> list[context_pb2.PresenceState]:
    async with asyncio.timeout(WAIT_S):
        response = await anext(aiter(stream))
    return list(response.states)


async def test_reads_of_what_is_not_there_are_refused(one: Cluster) -> None:
    async with calling(one, "a", "reads-of-what-is") as ann:
        nothing = context_pb2.ContextRef(namespace="demo", name="nothing")
        code, reason = await refusal(ann.stub.History(context_pb2.HistoryRequest(context=nothing), timeout=WAIT_S))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, Reason.CONTEXT_NOT_FOUND)
        code, reason = await refusal(anext(aiter(ann.stub.Pull(context_pb2.PullRequest(context=nothing)))))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, Reason.CONTEXT_NOT_FOUND)
        never = context_pb2.At(version="never")
        request = context_pb2.PullRequest(context=ann.context, at=never)
        code, reason = await refusal(anext(aiter(ann.stub.Pull(request, timeout=WAIT_S))))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, Reason.VERSION_NOT_FOUND)


async def test_a_context_that_is_deleted_ends_its_streams_and_does_not_come_back(one: Cluster) -> None:
    async with calling(one, "a", "a-context-that-is") as ann, ann.stream() as stream:
        await stream.until_acked(stream.send(stream.replica.set("k", 1)))
        await ann.stub.DeleteContext(context_pb2.DeleteContextRequest(context=ann.context, actor="ann"), timeout=WAIT_S)
        code, reason = await refusal(stream.until("moved"))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, Reason.CONTEXT_NOT_FOUND)
        created = context_pb2.CreateContextRequest(context=ann.context, guid=b"new1" * 4, actor="ann")
        await ann.stub.CreateContext(created, timeout=WAIT_S)
        assert await ann.content() == {}


async def test_a_compacted_context_moves_its_streams_and_carries_late_edits_over(one: Cluster) -> None:
    async with calling(one, "a", "a-compacted-context") as ann:
        async with ann.stream() as stream:
            await stream.until_acked([stream.send(stream.replica.set("k", n)) for n in range(50)][-1])
            late = stream.replica.set("late", 1)  # made in the old epoch, not sent yet
            request = context_pb2.CompactContextRequest(context=ann.context, actor="ann")
            compacted = await ann.stub.CompactContext(request, timeout=WAIT_S)
            assert (await stream.until("moved")).moved.info.epoch == compacted.info.epoch == 2
            await stream.until_acked(stream.send(late, epoch=1), QUORUM)
        async with ann.stream() as anew:
            await anew.until("part")
            assert anew.replica.content() == {"k": 49, "late": 1}
            assert anew.opened.info.epoch == 2


async def test_an_edit_reaches_the_other_nodes_and_a_majority(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(tmp_path, flags=["--contexts"]))
        for node_id in cluster.node_ids:
            await worker_pid(cluster, node_id)
        await cluster.wait_for_leader()
        callers = [
            await stack.enter_async_context(calling(cluster, node_id, actor=f"at-{node_id}")) for node_id in "abc"
        ]
        here, there, _ = [await stack.enter_async_context(caller.stream()) for caller in callers]
        number = here.send(here.replica.set("k", 1))
        await here.until_acked(number, QUORUM)
        await there.until_holds("k", 1)
        await there.until_acked(there.send(there.replica.delete("k")), QUORUM)
        await here.until_holds("k", None)
        # What is acknowledged here can be asked of any node.
        cursor = (await here.until_acked(here.send(here.replica.set("end", 1)))).cursor
        assert await callers[2].content(after=cursor) == {"end": 1}
