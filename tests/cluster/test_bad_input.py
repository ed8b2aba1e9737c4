"""Whatever arrives on a port, the answer is a typed error, nothing changes, and the node goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable
from typing import Final

import grpc
import pytest
import pytest_asyncio

from tallystick import Reason, ops
from tallystick.errors import REASONS
from tallystick.v1 import common_pb2, state_pb2
from tests.cluster.harness import Cluster
from tests.cluster.harness_bad_requests import (
    DECIDED,
    ONE,
    REF,
    REFUSED_BEFORE,
    WRITES,
    Request,
    append_value,
    ref,
)
from tests.cluster.harness_grpc import (
    CLUSTER_SERVICE,
    DEADLINE_S,
    STATE_SERVICE,
    raw_channel,
    refusal,
    send,
    send_bytes,
)
from tests.cluster.harness_wait import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT

METHODS: Final[dict[type[Request], str]] = {
    state_pb2.AppendRequest: "Append",
    state_pb2.CheckpointRequest: "Checkpoint",
    state_pb2.DeleteAgentRequest: "DeleteAgent",
    state_pb2.ReadRequest: "Read",
    state_pb2.ListMutationsRequest: "ListMutations",
    state_pb2.GetCheckpointRequest: "GetCheckpoint",
    state_pb2.ListCheckpointsRequest: "ListCheckpoints",
    state_pb2.ListAgentsRequest: "ListAgents",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("bad_input")) as running:
        async with running.connect() as client:
            agent = client.agent("x")
            await agent.append(ops.set("/n", 1), idempotency_key="used")
            await agent.checkpoint("once")
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(cluster: Cluster) -> AsyncIterator[grpc.aio.Channel]:
    async with raw_channel(cluster.endpoint("a")) as opened:
        yield opened


def _call(channel: grpc.aio.Channel, request: Request) -> Awaitable[bytes]:
    return send(channel, METHODS[type(request)], request)


def _status_of(reason: Reason) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == REASONS[reason].status)


async def _log_end(cluster: Cluster) -> tuple[int, int]:
    """Term and last index of the leader."""
    status = await cluster.status(await cluster.wait_for_leader())
    assert status is not None
    return status.term, status.last_index


@pytest.mark.parametrize("name", REFUSED_BEFORE)
async def test_what_breaks_a_rule_is_refused(cluster: Cluster, channel: grpc.aio.Channel, name: str) -> None:
    request, reason = REFUSED_BEFORE[name]
    digest = (await cluster.wait_equal()).state_digest
    term, last_index = await _log_end(cluster)
    assert await refusal(_call(channel, request)) == (_status_of(reason), reason)
    if isinstance(request, WRITES):  # a linearizable read puts an empty entry into the log
        after_term, after_index = await _log_end(cluster)
        assert (after_term, after_index) == (term, last_index) or after_term > term
    assert (await cluster.wait_equal()).state_digest == digest


@pytest.mark.parametrize("name", DECIDED)
async def test_what_does_not_fit_the_state_is_refused(cluster: Cluster, channel: grpc.aio.Channel, name: str) -> None:
    request, reason = DECIDED[name]
    before = await cluster.wait_equal()
    assert await refusal(_call(channel, request)) == (_status_of(reason), reason)
    after = await cluster.wait_equal()
    assert (after.state_digest, after.revision) == (before.state_digest, before.revision)


async def test_a_stream_refuses_one_request_and_goes_on(cluster: Cluster, channel: grpc.aio.Channel) -> None:
    method: grpc.aio.StreamStreamMultiCallable[bytes, state_pb2.AppendStreamResponse] = channel.stream_stream(
        STATE_SERVICE + "AppendStream", None, state_pb2.AppendStreamResponse.FromString
    )
    call = method(None, timeout=DEADLINE_S)
    good = state_pb2.AppendRequest(agent=ref(agent="streamed"), mutations=[ONE])
    for request in (good, REFUSED_BEFORE["NaN"][0], DECIDED["misfit"][0], REFUSED_BEFORE["1001 mutations"][0], good):
        await call.write(request.SerializeToString())
    await call.done_writing()
    answers = [answer async for answer in call]
    assert [answer.error.reason for answer in answers] == ["", "INVALID_JSON", "INVALID_OPERATION", "TOO_LARGE", ""]
    assert [answer.response.last_seq for answer in answers] == [1, 0, 0, 0, 2]


async def test_bytes_that_are_no_message_end_the_call_and_nothing_else(cluster: Cluster) -> None:
    before = await cluster.wait_equal()
    async with raw_channel(cluster.endpoint("a")) as channel:
        garbage = os.urandom(1000)
        for data in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x7f", garbage, b"\x0a\x03\x0a\x01\xff"):
            for method in ("Append", "Read", "Checkpoint", "ListMutations"):
                status, _ = await refusal(send_bytes(channel, STATE_SERVICE + method, data))
                assert status is grpc.StatusCode.UNKNOWN  # from gRPC itself: no code of ours sees such a call
        oversized = append_value(b'"' + b"x" * (9 << 20) + b'"')
        assert (await refusal(send(channel, "Append", oversized)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for method in (STATE_SERVICE + "Nothing", "/tallystick.v1.Nothing/Append", "/x", "/"):
            assert (await refusal(send_bytes(channel, method, b"")))[0] is grpc.StatusCode.UNIMPLEMENTED
        await send_bytes(channel, CLUSTER_SERVICE + "Status", b"")
    assert (await cluster.wait_equal()).state_digest == before.state_digest


async def test_positions_that_are_not_there_yet(channel: grpc.aio.Channel) -> None:
    future = common_pb2.Revision(group=1, position=2**62)
    options = common_pb2.ReadOptions(consistency=common_pb2.CONSISTENCY_SESSION, session=[future])
    read: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(STATE_SERVICE + "Read", None, None)
    request = state_pb2.ReadRequest(agent=REF, options=options).SerializeToString()
    behind = (grpc.StatusCode.UNAVAILABLE, "BEHIND")
    assert await refusal(read(request, timeout=1.0)) == behind
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(STATE_SERVICE + "Watch", None, None)
    watched = state_pb2.WatchRequest(namespace="demo", after=future).SerializeToString()
    assert await refusal(anext(aiter(watch(watched, timeout=1.0)))) == behind
    unnamed = state_pb2.WatchRequest().SerializeToString()
    assert await refusal(anext(aiter(watch(unnamed, timeout=1.0)))) == (INVALID, "INVALID_NAME")
    after_all = state_pb2.ListMutationsRequest(agent=REF, after_seq=2**64 - 1)
    assert not state_pb2.ListMutationsResponse.FromString(await _call(channel, after_all)).mutations


async def _say(address: str, data: bytes) -> None:
    """Connects, says it, and waits until the other side closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        with contextlib.suppress(OSError):
            async with asyncio.timeout(DEADLINE_S):
                while await reader.read(65536):
                    pass
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("port", ["client", "peer"])
async def test_noise_on_a_port(cluster: Cluster, port: str) -> None:
    plan = cluster.nodes["a"].plan
    address = plan.client_address if port == "client" else plan.peer_address
    before = await cluster.wait_equal()
    for noise in (
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x80\x04\x95",
        b"\x16\x03\x01" + b"\0" * 200,
    ):
        await _say(address, noise)
    async with raw_channel(address, grpc.ssl_channel_credentials()) as channel:
        status, _ = await refusal(send_bytes(channel, CLUSTER_SERVICE + "Status", b""))
        assert status is grpc.StatusCode.UNAVAILABLE
    async with cluster.connect(nodes=["a"]) as client:
        await client.agent("noise").append(ops.set("/after", port))
    assert (await cluster.wait_equal()).term == before.term


async def test_strangers_on_the_peer_port(cluster: Cluster) -> None:
    before = await cluster.wait_equal()
    names = ("tallystick-cluster-id", "tallystick-node-id", "tallystick-incarnation", "tallystick-peer-version")
    async with raw_channel(cluster.nodes["a"].plan.peer_address) as channel:
        link: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/tallystick.peer.v1.PeerService/Link", None, None
        )
        for values, status, reason in (
            ((), INVALID, "INVALID_REQUEST"),
            (("test", "b", "-1", "1.0"), INVALID, "INVALID_REQUEST"),
            (("other", "b", "1000", "1.0"), grpc.StatusCode.FAILED_PRECONDITION, "INVALID_REQUEST"),
            (("test", "a", "1000", "1.0"), grpc.StatusCode.FAILED_PRECONDITION, "INVALID_REQUEST"),
            (("test", "b", "1000", "2.0"), grpc.StatusCode.FAILED_PRECONDITION, "INVALID_REQUEST"),
            (("test", "stranger", "1000", "1.0"), grpc.StatusCode.PERMISSION_DENIED, "DENIED"),
        ):
            call = link(None, metadata=tuple(zip(names, values, strict=False)), timeout=DEADLINE_S)
            assert await refusal(anext(aiter(call))) == (status, reason), values
    after = await cluster.wait_equal()
    assert (after.term, after.state_digest) == (before.term, before.state_digest)


async def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(cluster: Cluster) -> None:
    async with raw_channel(cluster.endpoint("a")) as channel:
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            STATE_SERVICE + "Watch", None, None
        )
        request = state_pb2.WatchRequest(namespace="demo", after=common_pb2.Revision(group=1)).SerializeToString()
        calls = [watch(request) for _ in range(20)]
        for call in calls:
            await anext(aiter(call))
        assert (await cluster.statuses(["a"]))[0].watchers == 20

    async def none_left() -> bool:
        return all(status.watchers == 0 for status in await cluster.statuses(["a"]))

    await eventually(none_left, within_s=DEADLINE_S, what="the node has noticed that its watchers are gone")
