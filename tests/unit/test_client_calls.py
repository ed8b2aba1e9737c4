"""Calls that survive their nodes: failover, retries with one key, hints, deadlines, the session, close under a call."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime

import grpc
import pytest

import tallystick
from tallystick import Consistency, ops
from tallystick.errors import Reason
from tallystick.v1 import cluster_pb2, common_pb2, state_pb2
from tests.unit.client_kit import DEADLINE_S, Node, breaks, endpoints, freezes, nodes, refuses


def appends(started: list[Node]) -> list[state_pb2.AppendRequest]:
    return [item for node in started for item in node.requests if isinstance(item, state_pb2.AppendRequest)]


def lead(started: list[Node], leader: Node) -> None:
    for node in started:
        node.leader_endpoint = leader.endpoint


async def test_append_sends_what_was_given() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo", actor="me") as client:
        agent = client.agent("migrator")
        answer = await agent.append(
            ops.set("/a", 1), ops.append("/b", "x"), cause="tool:1", trace_id="t", schema_version=2, expected_seq=0
        )
        request = appends(started)[0]
    assert (answer.seq, answer.first_seq, answer.revision) == (1, 1, tallystick.Revision(1, 1))
    assert request.agent == common_pb2.AgentRef(namespace="demo", agent="migrator")
    assert (request.actor, request.HasField("expected_seq"), request.expected_seq) == ("me", True, 0)
    mutation = request.mutations[0]
    assert (mutation.cause, mutation.trace_id, mutation.schema_version) == ("tool:1", "t", 2)
    assert [operation.value for operation in mutation.operations] == [b"1", b'"x"']


async def test_writes_have_keys_of_their_own_unless_given() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        await agent.append(ops.set("/a", 1))
        first = await agent.append(ops.set("/a", 2), idempotency_key="mine")
        again = await agent.append(ops.set("/a", 2), idempotency_key="mine")
        keys = [request.idempotency_key for request in appends(started)]
    assert len(set(keys[:2])) == 2
    assert all(len(key) == 32 for key in keys[:2])
    assert keys[2:] == ["mine", "mine"]
    assert (first.replayed, again.replayed, again.seq) == (False, True, first.seq)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_write_that_breaks_has_one_effect(code: grpc.StatusCode, applied: bool) -> None:
    async with nodes(3) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        lead(started, started[0])
        await client.agent("other").append(ops.set("/a", 1))
        started[0].faults.append(breaks(code, applied=applied))
        answer = await client.agent("migrator").append(ops.set("/a", 1))
        keys = {item.idempotency_key for item in appends(started) if item.agent.agent == "migrator"}
        assert len(keys) == 1
        assert answer.replayed == applied
        assert len(started[0].history.of("migrator")) == 1


async def test_a_refusal_is_raised_at_once() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(refuses(Reason.SEQ_CONFLICT, {"head_seq": "4"}))
        with pytest.raises(tallystick.Conflict) as caught:
            await client.agent("migrator").append(ops.set("/a", 1), expected_seq=3)
        assert len(started[0].requests) == 1
    assert caught.value.metadata == {"head_seq": "4"}


async def test_what_is_not_json_is_not_sent() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        with pytest.raises(tallystick.Invalid):
            await client.agent("migrator").record("note", {"x": float("nan")})
        assert not started[0].requests


async def test_dead_nodes_are_passed_over() -> None:
    async with nodes(3) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        await started[0].stop()
        await started[1].stop()
        for number in range(1, 6):
            assert (await client.agent("migrator").append(ops.set("/a", 1))).seq == number
            assert (await client.agent("migrator").read(consistency=Consistency.LOCAL)).seq == number
        assert len(appends(started)) == 5


async def test_the_leader_dies_and_another_takes_over() -> None:
    async with nodes(3) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        lead(started, started[1])
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        await agent.append(ops.set("/a", 1))
        assert len(appends(started[1:2])) >= 1
        await started[1].stop()
        lead(started, started[2])
        await agent.append(ops.set("/a", 1))
        before = len(appends(started[2:]))
        await agent.append(ops.set("/a", 1))
        assert len(appends(started[2:])) == before + 1
        assert [item.seq for item in started[0].history.of("migrator")] == [1, 2, 3, 4]


async def test_a_node_comes_back_on_its_port() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        port = int(started[0].endpoint.rpartition(":")[2])
        await started[0].stop()
        waiting = asyncio.create_task(agent.append(ops.set("/a", 1)))
        with pytest.raises(tallystick.Unavailable):
            await agent.read(timeout_s=0.2)
        await started[0].start(port)
        assert (await waiting).seq == 2


async def test_writes_follow_a_hint_to_a_node_that_was_not_given() -> None:
    async with nodes(2) as started, tallystick.connect(started[0].endpoint, namespace="demo") as client:
        started[0].faults.append(refuses(Reason.NO_LEADER, {"leader_endpoint": started[1].endpoint}))
        await client.agent("migrator").append(ops.set("/a", 1))
        assert len(appends(started[1:])) == 1
        assert client.endpoints == (started[0].endpoint, started[1].endpoint)


async def test_a_hint_to_nowhere_does_no_harm() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].leader_endpoint = "127.0.0.1:1"
        for _ in range(5):
            await client.agent("migrator").append(ops.set("/a", 1))
        assert len(started[0].history.of("migrator")) == 5


async def test_no_leader_for_long_is_unavailable() -> None:
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        for node in started:
            node.faults.extend(refuses(Reason.NO_LEADER) for _ in range(1000))
        began_s = time.monotonic()
        with pytest.raises(tallystick.NoLeader):
            await client.agent("migrator").append(ops.set("/a", 1), timeout_s=0.5)
        assert time.monotonic() - began_s < 0.5 + 0.25
        assert all(node.requests for node in started)


async def test_nobody_there_is_unavailable() -> None:
    async with tallystick.connect("127.0.0.1:1,127.0.0.1:2", namespace="demo") as client:
        with pytest.raises(tallystick.Unavailable) as caught:
            await client.agent("migrator").append(ops.set("/a", 1), timeout_s=0.3)
    assert caught.value.reason is Reason.UNREACHABLE


async def test_what_may_have_been_applied_is_undecided_to_the_end() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(breaks(applied=False))
        started[0].faults.extend(refuses(Reason.NO_LEADER) for _ in range(1000))
        with pytest.raises(tallystick.Undecided) as caught:
            await client.agent("migrator").append(ops.set("/a", 1), timeout_s=0.4)
        assert caught.value.metadata["idempotency_key"] == appends(started)[0].idempotency_key


async def test_a_frozen_node_does_not_eat_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick._backoff.ATTEMPT_S", 0.3)
    thaw = asyncio.Event()
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        lead(started, started[0])
        await client.agent("other").append(ops.set("/a", 1))
        started[0].faults.extend(freezes(thaw) for _ in range(10))
        began_s = time.monotonic()
        results = await asyncio.gather(*(client.agent("migrator").append(ops.set("/a", 1)) for _ in range(8)))
        assert time.monotonic() - began_s < 2.0
        assert len({result.seq for result in results}) == 8
        thaw.set()


async def test_an_overloaded_node_is_given_the_time_it_asks_for() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(refuses(Reason.OVERLOADED, retry_after_s=0.4))
        began_s = time.monotonic()
        await client.agent("migrator").append(ops.set("/a", 1))
        assert time.monotonic() - began_s >= 0.4


async def test_an_overloaded_leader_is_not_left() -> None:
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        lead(started, started[0])
        await client.agent("other").append(ops.set("/a", 1))
        started[0].faults.append(refuses(Reason.OVERLOADED))
        await client.agent("migrator").append(ops.set("/a", 1))
        assert [item.agent.agent for item in appends(started[:1])][-2:] == ["migrator", "migrator"]


async def test_a_deadline_travels_and_holds() -> None:
    thaw = asyncio.Event()
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.extend(freezes(thaw) for _ in range(5))
        began_s = time.monotonic()
        with pytest.raises(tallystick.Unavailable):
            await client.agent("migrator").read(timeout_s=0.3)
        assert 0.25 < time.monotonic() - began_s < 1.0
        assert 0.1 < started[0].deadlines_s[0] <= 0.31
        with pytest.raises(tallystick.Invalid):
            await client.agent("migrator").read(timeout_s=0)
        thaw.set()


async def test_a_cancelled_call_is_cancelled_there_too() -> None:
    seen = asyncio.Event()
    ended = asyncio.Event()

    async def waits(_context: object, _apply: object) -> None:
        seen.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(waits)
        call = asyncio.create_task(client.agent("migrator").append(ops.set("/a", 1)))
        await seen.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), DEADLINE_S)


async def test_closing_ends_what_is_under_way() -> None:
    thaw = asyncio.Event()
    async with nodes(1) as started:
        client = tallystick.connect(endpoints(started), namespace="demo")
        started[0].faults.extend(freezes(thaw) for _ in range(2))
        agent = client.agent("migrator")
        write, read = asyncio.create_task(agent.append(ops.set("/a", 1))), asyncio.create_task(agent.read())
        await started[0].until(lambda: len(started[0].requests) == 2)
        await client.close()
        with pytest.raises(tallystick.Undecided):
            await asyncio.wait_for(write, DEADLINE_S)
        with pytest.raises(tallystick.Unavailable):
            await asyncio.wait_for(read, DEADLINE_S)
        with pytest.raises(tallystick.Unavailable):
            await agent.read()
        await client.close()
        thaw.set()


async def test_session_reads_carry_what_was_written_and_seen() -> None:
    async with (
        nodes(1) as started,
        tallystick.connect(endpoints(started), namespace="demo", consistency=Consistency.SESSION) as client,
        tallystick.connect(endpoints(started), namespace="demo") as other,
    ):
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        await agent.read()
        await other.agent("migrator").append(ops.set("/a", 2))
        await agent.read(consistency=Consistency.LINEARIZABLE)
        await agent.read()
        reads = [item.options for item in started[0].requests if isinstance(item, state_pb2.ReadRequest)]
        assert list(client.session) == [tallystick.Revision(1, 2)]
        client.join_session(tallystick.Revision(2, 9))
        assert list(client.session) == [tallystick.Revision(1, 2), tallystick.Revision(2, 9)]
    assert [options.consistency for options in reads] == [
        common_pb2.CONSISTENCY_SESSION,
        common_pb2.CONSISTENCY_LINEARIZABLE,
        common_pb2.CONSISTENCY_SESSION,
    ]
    assert [[revision.position for revision in options.session] for options in reads] == [[1], [], [2]]


async def test_a_node_that_is_behind_is_passed_over() -> None:
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        for node in started:
            node.faults.append(refuses(Reason.BEHIND))
        assert (await agent.read(consistency=Consistency.SESSION)).seq == 1


async def test_an_agent_starts_empty() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        await client.agent("migrator2").append(ops.set("/a", 1))
        agent = client.agent("migrator")
        with pytest.raises(tallystick.NotFound):
            await agent.read()
        with pytest.raises(tallystick.NotFound):
            await agent.rehydrate(missing_ok=False)
        snap = await agent.rehydrate()
        assert (snap.state, snap.seq, snap.time, snap.revision) == ({}, 0, None, tallystick.Revision(1, 1))
        await agent.append(ops.set("/a", 1))
        snap = await agent.rehydrate()
        assert (snap.state, snap.seq) == ({"count": 1}, 1)
        assert snap.time is not None


async def test_a_read_is_at_one_point() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        await agent.read(seq=0)
        await agent.read(checkpoint="c")
        await agent.read(time=datetime(2024, 1, 1, tzinfo=UTC))
        await agent.rehydrate()
        reads = [item for item in started[0].requests if isinstance(item, state_pb2.ReadRequest)]
        with pytest.raises(tallystick.Invalid):
            await agent.read(seq=1, checkpoint="c")
    assert [item.WhichOneof("at") for item in reads] == ["seq", "checkpoint", "time_unix_ms", None]
    assert reads[2].time_unix_ms == 1_704_067_200_000
    assert [item.tail_limit for item in reads] == [0, 0, 0, 100]


async def test_lists_turn_their_pages() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("a0")
        for number in range(10):
            await agent.append(ops.set("/n", number), cause=f"c{number}")
        for number in range(1, 5):
            await client.agent(f"a{number}").record("born", {"number": number})
            made = await agent.checkpoint(f"c{number}", step=number, metadata={"n": number}, pending_calls=["x"])
        assert [entry.cause async for entry in agent.log(after_seq=1)] == [f"c{number}" for number in range(1, 10)]
        assert [info.name async for info in client.agents(prefix="a")] == ["a0", "a1", "a2", "a3", "a4"]
        points = [point async for point in agent.checkpoints()]
        assert [point.name for point in points] == ["c1", "c2", "c3", "c4"]
        assert points[-1] == made == await agent.get_checkpoint("c4")
        assert (made.metadata, made.pending_calls, made.step) == ({"n": 4}, ["x"], 4)
        assert client.session == (made.revision,)
        with pytest.raises(tallystick.NotFound):
            await agent.get_checkpoint("none")
        async with aclosing(agent.log()) as log:
            assert (await anext(log)).operations[0].value == 0


async def test_delete_tells_its_revision() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/a", 1))
        assert await agent.delete() == tallystick.Revision(1, 2)
        assert client.session == (tallystick.Revision(1, 2),)


async def test_status_of_each_and_of_who_is_gone() -> None:
    async with nodes(3) as started, tallystick.connect(endpoints(started[:2]), namespace="demo") as client:
        gone, there, named = started
        there.members = [cluster_pb2.Member(node_id=node.name, client_endpoint=node.endpoint) for node in started]
        await gone.stop()
        statuses = {status.endpoint: status for status in await client.statuses()}
        assert set(statuses) == {node.endpoint for node in started}
        assert isinstance(statuses[gone.endpoint].error, tallystick.Unavailable)
        for node in (there, named):
            status = statuses[node.endpoint].status
            assert status is not None
            assert (status.node_id, status.role) == (node.name, tallystick.Role.FOLLOWER)
        assert (await client.status()).node_id in ("n2", "n3")
        assert (await client.status(named.endpoint)).node_id == "n3"
        with pytest.raises(tallystick.Unavailable):
            await client.status(gone.endpoint)
