"""An agent's log as one node has it.

The client library would go to another node when one fails. Here that would prove nothing, so this speaks the wire
itself: one channel, session and local reads, and every answer must name the node that was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
import orjson

from tallystick import JSON, Revision
from tallystick.v1 import common_pb2, state_pb2
from tallystick.v1.state_pb2_grpc import StateServiceStub

if TYPE_CHECKING:
    from tallystick.v1.state_pb2_grpc import StateServiceAsyncStub

_CALL_S: Final = 5.0
_PAUSE_S: Final = 0.1
_PAGE: Final = 500
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 8 << 20),
)


class WrongNode(Exception):
    """Another node answered than the one that was asked."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A mutation: `hash` and `revision` as text; `payload` of an event, None of a change of the state."""

    seq: int
    kind: str
    payload: JSON
    actor: str
    hash: str
    revision: str


@dataclass(frozen=True, slots=True)
class Point:
    """A checkpoint."""

    name: str
    seq: int
    hash: str
    revision: str
    state_digest: str


@dataclass(frozen=True, slots=True)
class NodeLog:
    """All that a node has of an agent: mutations and checkpoints, oldest first, and the state as JSON text."""

    node: str
    entries: tuple[Entry, ...]
    checkpoints: tuple[Point, ...]
    state: bytes


class NodeReader:
    """Reads an agent from one node."""

    def __init__(self, stub: StateServiceAsyncStub, node: str, agent: common_pb2.AgentRef) -> None:
        self._stub = stub
        self._node = node
        self._agent = agent

    async def reach(self, revision: Revision) -> None:
        """Waits until the node has applied this revision, however long it takes."""
        session = [common_pb2.Revision(group=revision.group, position=revision.position)]
        options = common_pb2.ReadOptions(consistency=common_pb2.CONSISTENCY_SESSION, session=session)
        request = state_pb2.ReadRequest(agent=self._agent, options=options)
        while True:
            try:
                answer = await self._stub.Read(request, timeout=_CALL_S, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                return self._check(answer.header)

    async def read(self) -> NodeLog:
        """All that the node has, by local reads."""
        local = common_pb2.ReadOptions(consistency=common_pb2.CONSISTENCY_LOCAL)
        state = await self._stub.Read(state_pb2.ReadRequest(agent=self._agent, options=local), timeout=_CALL_S)
        self._check(state.header)
        return NodeLog(self._node, await self._entries(local), await self._checkpoints(local), state.state)

    async def _entries(self, options: common_pb2.ReadOptions) -> tuple[Entry, ...]:
        found: list[Entry] = []
        request = state_pb2.ListMutationsRequest(agent=self._agent, options=options, limit=_PAGE)
        while True:
            page = await self._stub.ListMutations(request, timeout=_CALL_S)
            self._check(page.header)
            found.extend(map(_entry, page.mutations))
            if not page.more:
                return tuple(found)
            request.after_seq = found[-1].seq

    async def _checkpoints(self, options: common_pb2.ReadOptions) -> tuple[Point, ...]:
        found: list[Point] = []
        request = state_pb2.ListCheckpointsRequest(agent=self._agent, options=options, limit=_PAGE)
        while True:
            page = await self._stub.ListCheckpoints(request, timeout=_CALL_S)
            self._check(page.header)
            found.extend(map(_point, page.checkpoints))
            if not page.more:
                return tuple(found)
            request.after_revision = page.checkpoints[-1].revision.position

    def _check(self, header: common_pb2.ResponseHeader) -> None:
        if header.node_id != self._node:
            raise WrongNode(f"asked node {self._node}, node {header.node_id} answered")


@asynccontextmanager
async def open_node(node: str, endpoint: str, *, namespace: str, agent: str) -> AsyncIterator[NodeReader]:
    """A reader of this agent at this node."""
    async with grpc.aio.insecure_channel(endpoint, options=_OPTIONS) as channel:
        ref = common_pb2.AgentRef(namespace=namespace, agent=agent)
        yield NodeReader(StateServiceStub(channel), node, ref)


def _entry(message: state_pb2.DecidedMutation) -> Entry:
    payload: JSON = orjson.loads(message.mutation.payload) if message.mutation.payload else None
    kind = message.mutation.kind or "state"
    return Entry(message.seq, kind, payload, message.actor, message.hash.hex(), _text(message.revision))


def _point(message: state_pb2.CheckpointInfo) -> Point:
    digest = message.state_digest.hex()
    return Point(message.name, message.seq, message.hash.hex(), _text(message.revision), digest)


def _text(revision: common_pb2.Revision) -> str:
    return str(Revision(revision.group, revision.position))
