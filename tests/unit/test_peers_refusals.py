"""Streams that a node refuses, each with its sentence and code, and none of whose messages is handed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tallystick.peer.v1.peer_pb2 import Frame, LinkStatus, RaftMessage
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import Caller
from tallystick_node.peers.limits import FRAME_BYTES
from tallystick_node.peers.options import CHANNEL_OPTIONS
from tallystick_node.peers.refusals import DETAILS_KEY, Refused
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.streams import Stream
from tallystick_node.peers.tls import PeerCredentials, name_override, peer_credentials
from tests.unit.peers_kit import (
    CLUSTER_ID,
    DEADLINE_S,
    Authority,
    Incoming,
    Recorder,
    linked,
    local,
    numbered,
    serving,
    sized,
    watched_log,
)


class RawLink:
    """A dialler that says what it is told to."""

    def __init__(self, channel: grpc.aio.Channel, **changed: str) -> None:
        said = {
            "tallystick-cluster-id": CLUSTER_ID,
            "tallystick-node-id": "a",
            "tallystick-incarnation": "1",
            "tallystick-peer-version": "1.0",
        }
        said.update({f"tallystick-{key.replace('_', '-')}": value for key, value in changed.items()})
        method: grpc.aio.StreamStreamMultiCallable[bytes, LinkStatus] = channel.stream_stream(
            "/tallystick.peer.v1.PeerService/Link", None, LinkStatus.FromString
        )
        self._call = method(None, metadata=tuple((key, value) for key, value in said.items() if value))

    async def accepted(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            status = await self._call.read()
        assert isinstance(status, LinkStatus) and status.node_id == "b"

    async def send(self, frame: Frame) -> None:
        await self._call.write(frame.SerializeToString())

    async def try_send(self, frame: Frame) -> None:
        """Send on a stream that may have been ended. After it gRPC may say INTERNAL, whatever the server said."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.send(frame)

    async def refused(self) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """Wait for the end: status, sentence, metadata of the ErrorInfo."""
        async with asyncio.timeout(DEADLINE_S):
            code = await self._call.code()
            trailers = {str(key): value for key, value in await self._call.trailing_metadata()}
        details = trailers.get(DETAILS_KEY, b"")
        info = ErrorInfo()
        assert isinstance(details, bytes)
        status = Status.FromString(details)
        assert status.details, f"no ErrorInfo with {code}"
        status.details[0].Unpack(info)
        return code, await self._call.details(), {"reason": info.reason, **info.metadata}


@asynccontextmanager
async def dialled(b: Incoming) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(b.endpoint, CHANNEL_OPTIONS) as channel:
        yield channel


@pytest.mark.parametrize(
    ("changed", "refusal", "sentence"),
    [
        ({"cluster_id": "other"}, Refusal.OTHER_CLUSTER, f"This node is of cluster {CLUSTER_ID}, not of other."),
        ({"node_id": "z"}, Refusal.UNKNOWN_NODE, "z is no member that b knows."),
        ({"node_id": "b"}, Refusal.OWN_NODE_ID, "This node is b itself"),
        ({"peer_version": "2.0"}, Refusal.OTHER_VERSION, "Node a speaks peer version 2.0, this one 1.1."),
        ({"incarnation": "x"}, Refusal.BAD_METADATA, "tallystick-incarnation is not a number"),
        ({"incarnation": "-1"}, Refusal.BAD_METADATA, "tallystick-incarnation is not a number"),
        ({"node_id": ""}, Refusal.BAD_METADATA, "tallystick-node-id is missing"),
    ],
)
async def test_who_may_not_dial(changed: dict[str, str], refusal: Refusal, sentence: str) -> None:
    async with serving("b") as b, dialled(b) as channel:
        with watched_log() as log:
            await RawLink(channel, **changed).try_send(Frame(messages=[numbered(1)]))
            assert (await log.until("refused the stream of a peer"))["refusal"] == refusal
            code, details, info = await RawLink(channel, **changed).refused()
        assert (code, info["refusal"]) == (Refused(refusal, "").code, refusal)
        assert sentence in details
        assert len(log.records) == 1, "a refused peer dials on and on; that is not logged again and again"
        assert b.servicer.counters.refused == {refusal: 2}
        assert (b.servicer.counters.accepted, b.recorder.received) == (0, {})


async def test_another_minor_version_is_welcome() -> None:
    async with serving("b") as b, dialled(b) as channel:
        await RawLink(channel, peer_version="1.9").accepted()


@pytest.mark.parametrize(
    ("frame", "refusal"),
    [
        (Frame(), Refusal.BAD_FRAME),
        (Frame(messages=[numbered(2), RaftMessage(term=3)]), Refusal.BAD_FRAME),
        (Frame(messages=[sized(2, FRAME_BYTES)]), Refusal.FRAME_TOO_LARGE),
    ],
    ids=["empty", "no body", "too large"],
)
async def test_a_bad_frame_ends_the_stream(frame: Frame, refusal: Refusal) -> None:
    async with serving("b") as b, dialled(b) as channel:
        link = RawLink(channel)
        await link.accepted()
        await link.send(Frame(messages=[numbered(1)]))
        with watched_log() as log:
            await link.send(frame)
            await link.try_send(Frame(messages=[numbered(9)]))
            assert (await log.until("refused the stream of a peer"))["refusal"] == refusal
        assert b.recorder.received == {"a": [1]}, "nothing of a bad frame, nothing after it"
        link = RawLink(channel)
        await link.accepted()
        await link.send(frame)
        code, _, info = await link.refused()
        assert (code, info["refusal"]) == (grpc.StatusCode.INVALID_ARGUMENT, refusal)
        assert b.servicer.counters.refused == {refusal: 2}
        again = RawLink(channel)
        await again.accepted()
        await again.send(Frame(messages=[numbered(10)]))
        assert await b.recorder.got("a", 2) == [1, 10]


@pytest.mark.parametrize("incarnation", ["1", "2"], ids=["later", "higher incarnation"])
async def test_a_newer_stream_supersedes_the_older(incarnation: str) -> None:
    async with serving("b") as b, dialled(b) as channel:
        older = RawLink(channel)
        await older.accepted()
        await older.send(Frame(messages=[numbered(1)]))
        await b.recorder.got("a", 1)
        newer = RawLink(channel, incarnation=incarnation)
        await newer.accepted()
        code, _, info = await older.refused()
        assert (code, info["refusal"]) == (grpc.StatusCode.ABORTED, Refusal.SUPERSEDED)
        await newer.send(Frame(messages=[numbered(2)]))
        assert await b.recorder.got("a", 2) == [1, 2]
        assert b.servicer.counters.accepted == 2


async def test_frames_that_a_superseded_stream_still_brings_are_ignored() -> None:
    async def frames() -> AsyncIterator[bytes]:
        yield Frame(messages=[numbered(1)]).SerializeToString()
        newer = servicer._admit(caller)
        assert isinstance(newer, Stream)
        yield Frame(messages=[numbered(2)]).SerializeToString()

    recorder, caller = Recorder(), Caller(CLUSTER_ID, "a", 1, "1.0")
    servicer = PeerServicer(local("b"), ("a", "b"), recorder, require_certificate=False)
    older = servicer._admit(caller)
    assert isinstance(older, Stream)
    await servicer._read(older, frames())
    assert recorder.received == {"a": [1]}


async def test_an_older_incarnation_is_refused_even_when_the_newer_is_gone() -> None:
    async with serving("b") as b:
        async with dialled(b) as channel:
            await RawLink(channel, incarnation="5").accepted()
            code, _, info = await RawLink(channel, incarnation="4").refused()
            assert (code, info["refusal"]) == (grpc.StatusCode.FAILED_PRECONDITION, Refusal.OLD_INCARNATION)
        async with dialled(b) as channel:
            assert (await RawLink(channel, incarnation="4").refused())[2]["refusal"] == Refusal.OLD_INCARNATION
            await RawLink(channel, incarnation="5").accepted()


async def test_a_stopping_node_ends_its_streams_and_takes_no_more() -> None:
    async with serving("b") as b, dialled(b) as channel:
        link = RawLink(channel)
        await link.accepted()
        b.servicer.close()
        assert (await link.refused())[2] == {"reason": "STOPPING", "refusal": Refusal.STOPPING}
        assert (await RawLink(channel).refused())[2]["reason"] == "STOPPING"


def _credentials(authority: Authority, *names: str, ca_pem: bytes | None = None) -> PeerCredentials:
    return peer_credentials(ca_pem or authority.pem, *authority.issue(*names))


async def test_mutual_tls_connects_the_right_nodes() -> None:
    authority = Authority()
    a_shows, b_shows = (_credentials(authority, f"{i}.node.tallystick") for i in "ab")
    async with serving("b", credentials=b_shows) as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint}, recorder, a_shows) as links:
            await recorder.up("b")
            links.send("b", numbered(1))
            assert await b.recorder.got("a", 1) == [1]


async def test_a_certificate_of_another_node_is_refused() -> None:
    authority = Authority()
    c_shows, b_shows = (_credentials(authority, f"{i}.node.tallystick") for i in "cb")
    async with serving("b", credentials=b_shows) as b:
        options = (*CHANNEL_OPTIONS, name_override("b"))
        async with grpc.aio.secure_channel(b.endpoint, c_shows.channel, options) as channel:
            link = RawLink(channel)
            await link.try_send(Frame(messages=[numbered(1)]))
            code, sentence, info = await link.refused()
        assert (code, info["refusal"]) == (grpc.StatusCode.PERMISSION_DENIED, Refusal.WRONG_CERTIFICATE)
        assert sentence == "The certificate of node a does not name a.node.tallystick."
        assert b.recorder.received == {}


@pytest.mark.parametrize("wrong", ["server's name", "server's CA", "client's CA", "no TLS"])
async def test_what_does_not_get_through_the_handshake(wrong: str) -> None:
    authority, stranger = Authority(), Authority()
    a_shows: PeerCredentials | None = _credentials(authority, "a.node.tallystick")
    b_shows = _credentials(authority, "b.node.tallystick")
    if wrong == "server's name":
        b_shows = _credentials(authority, "c.node.tallystick")
    elif wrong == "server's CA":
        b_shows = _credentials(stranger, "b.node.tallystick", ca_pem=authority.pem)
    elif wrong == "client's CA":
        a_shows = _credentials(stranger, "a.node.tallystick", ca_pem=authority.pem)
    else:
        a_shows = None
    async with serving("b", credentials=b_shows) as b:
        recorder = Recorder()
        with watched_log() as log:
            async with linked(local("a"), {"b": b.endpoint}, recorder, a_shows) as links:
                logged = await log.until("no link to a peer")
                assert str(logged["why"]).startswith(("UNAVAILABLE", "no answer"))
                assert links.counters["b"].connects == 0
        assert b.servicer.counters.accepted == 0
        assert recorder.changes == []
