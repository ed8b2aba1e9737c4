"""The streams of one kind that peers have open here, and who may open one.

Rules of this file:
- A peer has one stream. A newer one supersedes it.
- Who is no member any more loses its stream. Once closed, all are ended and nobody opens one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Generic, TypeVar

import grpc

from tallystick_node.peers.admission import Admission
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import Caller
from tallystick_node.peers.processes import Processes
from tallystick_node.peers.refusals import Refused, stopping

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")


class Stream:
    """One accepted stream; `ended` is set once when we end it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.ended: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

    def end(self, why: Refused) -> None:
        """The first reason counts."""
        if not self.ended.done():
            self.ended.set_result(why)


StreamT = TypeVar("StreamT", bound=Stream)


class Streams(Generic[StreamT]):
    """See the module."""

    def __init__(self, admission: Admission, processes: Processes) -> None:
        self._admission = admission
        self._processes = processes
        self._streams: dict[str, StreamT] = {}
        self._closed = False

    def __iter__(self) -> Iterator[StreamT]:
        return iter(list(self._streams.values()))

    def check(self, context: grpc.aio.ServicerContext[QuestionT, AnswerT]) -> Caller | Refused:
        """Who calls, or why it may not; it is the newest process of its node from now on."""
        checked = self._admission.check(context)
        if isinstance(checked, Refused):
            return checked
        return stopping() if self._closed else (self._processes.admit(checked) or checked)

    def of(self, peer_id: str) -> StreamT | None:
        """A peer's, if it has one."""
        return self._streams.get(peer_id)

    def add(self, stream: StreamT) -> None:
        """Makes this the stream of its node."""
        node_id = stream.caller.node_id
        older = self._streams.get(node_id)
        if older is not None:
            older.end(Refused(Refusal.SUPERSEDED, f"Node {node_id} opened a newer stream."))
        self._streams[node_id] = stream

    def remove(self, stream: StreamT) -> None:
        """It is over; a newer one stays."""
        if self._streams.get(stream.caller.node_id) is stream:
            del self._streams[stream.caller.node_id]

    def update(self) -> None:
        """The members are others: ends the streams of those who are none."""
        for stream in self:
            refused = self._admission.check_member(stream.caller.node_id)
            if refused is not None:
                stream.end(refused)

    def close(self) -> None:
        """Ends all, and takes no more."""
        self._closed = True
        for stream in self:
            stream.end(stopping())
