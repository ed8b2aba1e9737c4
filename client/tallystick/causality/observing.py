"""What a client has read, and what of it the next mutation of a log is to carry.

Rules of this file:
- A mutation carries what is new since the last one of its log that was acknowledged with what it carried: the rest is
  known from there. What is told twice does no harm; what is never told is no evidence.
- What is the log's own is not told, and what was written here is no reading.
- All is bounded: what was read longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from tallystick.causality.convert import observed_message
from tallystick.causality.values import Observed, ObservedContext, ObservedLog
from tallystick.contexts.cursor import Cursor
from tallystick.v1 import common_pb2, state_pb2

LOGS_KEPT: Final = 256
"""Logs that are remembered as read: a program that runs a thousand agents tells of each what it read last, not all."""
CONTEXTS_KEPT: Final = 64
"""Contexts likewise."""
WRITERS_KEPT: Final = 1024
"""Logs of which is remembered what was carried; one that is forgotten carries all again."""
LOGS_CARRIED: Final = 64
"""Logs that one mutation carries; further ones go with the next."""
CONTEXTS_CARRIED: Final = 16
"""Contexts likewise."""
CURSOR_BYTES: Final = 4 * 1024
"""A cursor that is larger is not carried: a document of many writers."""

REQUEST_BYTES: Final = 512 * 1024
"""A request that is larger carries nothing: what it would goes with the next."""

Log: TypeAlias = tuple[str, str]
"""Agent and branch."""


WhatT = TypeVar("WhatT", ObservedLog, ObservedContext)
KeyT = TypeVar("KeyT", Log, str)


@dataclass(slots=True)
class _Seen(Generic[WhatT]):
    """`stamp`: counts readings; the higher, the later."""

    what: WhatT
    stamp: int


class News(NamedTuple):
    """What a mutation carries, and up to which reading that is all."""

    message: common_pb2.Observed
    stamp: int


class Observing:
    """See the module. `is_on`: False: nothing is gathered, and nothing sent."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._logs: OrderedDict[Log, _Seen[ObservedLog]] = OrderedDict()
        self._contexts: OrderedDict[str, _Seen[ObservedContext]] = OrderedDict()
        self._open: dict[str, Callable[[], Cursor | None]] = {}
        self._cursors: dict[str, tuple[bytes, int, bytes, bytes]] = {}
        self._carried: OrderedDict[Log, int] = OrderedDict()
        self._stamp = 0

    # What is read.

    def saw(self, agent: str, branch: str, seq: int, hash_: bytes = b"", *, is_head: bool = False) -> None:
        """A log was read up to a seq. `is_head`: it surely ends there; so if more was read, that was another agent."""
        if not self._is_on or not seq:
            return
        known = self._logs.get((agent, branch))
        if known is None or seq > known.what.seq or (is_head and seq < known.what.seq):
            self._keep(self._logs, (agent, branch), ObservedLog(agent, seq, branch, hash_), LOGS_KEPT)

    def wrote(self, agent: str, branch: str, first_seq: int, seq: int, hash_: bytes) -> None:
        """This client wrote these, behind what it had read: it has read them too, and that is no news."""
        known = self._logs.get((agent, branch))
        if known is not None and known.what.seq == first_seq - 1:
            known.what = ObservedLog(agent, seq, branch, hash_)

    def gone(self, agent: str, branch: str | None = None) -> None:
        """An agent was deleted, or one of its branches: the next one of that name was told nothing yet."""
        for kept in (self._logs, self._carried):
            for log in [log for log in kept if log[0] == agent and branch in (None, log[1])]:
                del kept[log]

    def opened(self, name: str, cursor: Callable[[], Cursor | None]) -> None:
        """A context is open: what it holds is read."""
        if self._is_on:
            self._open[name] = cursor

    def closed(self, name: str) -> None:
        """It is open no more; what it held stays read."""
        self._look(name)
        self._open.pop(name, None)
        self._cursors.pop(name, None)

    def add(self, observed: Observed) -> None:
        """What another told that it read."""
        for log in observed.logs:
            self.saw(log.agent, log.branch, log.seq, log.hash)
        for context in observed.contexts if self._is_on else ():
            self._keep(self._contexts, context.name, context, CONTEXTS_KEPT)

    # What is carried.

    def all(self, besides: Log | None = None) -> Observed:
        """All that was read, but for that log."""
        self._look_all()
        # Copied first: a blocking client is asked from other threads than that which reads.
        logs = [each.what for log, each in list(self._logs.items()) if log != besides]
        return Observed(tuple(logs), tuple([each.what for each in list(self._contexts.values())]))

    def news(self, agent: str, branch: str) -> News | None:
        """What the next mutation of that log is to carry; None: nothing."""
        if self._open:
            self._look_all()
        writer = (agent, branch)
        carried = self._carried.get(writer, 0)
        if carried >= self._stamp:
            return None
        return self._gather(writer, carried)

    def carry(
        self, agent: str, branch: str, mutations: Sequence[state_pb2.Mutation], room_bytes: int | None = None
    ) -> News | None:
        """Puts what is news into the first of the mutations that are to be appended to that log, unless it says itself
        what was read, or there is no room: by what is told besides, nothing becomes too large.

        Args:
            room_bytes: None: as they leave it.
        """
        news = self.news(agent, branch)
        if news is None or not mutations or mutations[0].HasField("observed"):
            return None
        if room_bytes is None:
            room_bytes = REQUEST_BYTES - sum(each.ByteSize() for each in mutations)
        if news.message.ByteSize() > room_bytes:
            return None
        mutations[0].observed.CopyFrom(news.message)
        return news

    def record(self, agent: str, branch: str) -> common_pb2.Observed | None:
        """What a checkpoint of that log tells: what was read last, as much as it may; None: nothing."""
        observed = self.all(besides=(agent, branch))
        if not observed:
            return None
        return observed_message(Observed(observed.logs[-LOGS_CARRIED:], observed.contexts[-CONTEXTS_CARRIED:]))

    def acknowledged(self, agent: str, branch: str, news: News | None) -> None:
        """A mutation of that log is decided, and carried these."""
        if news is not None:
            writer = (agent, branch)
            self._carried[writer] = max(news.stamp, self._carried.pop(writer, 0))
            if len(self._carried) > WRITERS_KEPT:
                self._carried.popitem(last=False)

    def lost(self, agent: str, branch: str) -> None:
        """A mutation that was counted on did not come to be: all is carried again."""
        self._carried.pop((agent, branch), None)

    def _gather(self, writer: Log, carried: int) -> News | None:
        logs = [each for each in _newer(self._logs, carried) if (each.what.agent, each.what.branch) != writer]
        contexts = _newer(self._contexts, carried)
        if not (logs or contexts):
            self.acknowledged(*writer, News(common_pb2.Observed(), self._stamp))
            return None
        # What was read first goes first, and what does not fit goes with the next.
        stamp = min(_end(logs, LOGS_CARRIED, self._stamp), _end(contexts, CONTEXTS_CARRIED, self._stamp))
        observed = Observed(
            tuple([each.what for each in logs if each.stamp <= stamp]),
            tuple([each.what for each in contexts if each.stamp <= stamp]),
        )
        return News(observed_message(observed), stamp)

    def _look_all(self) -> None:
        for name in list(self._open):
            self._look(name)

    def _look(self, name: str) -> None:
        """Whether an open context holds other things than when it was looked at last."""
        cursor_of = self._open.get(name)
        cursor = cursor_of() if cursor_of is not None else None
        if cursor is None:
            return
        held = (cursor.guid, cursor.epoch, cursor.state_vector, cursor.deletes_digest)
        if self._cursors.get(name) == held:
            return
        self._cursors[name] = held
        data = cursor.message().SerializeToString(deterministic=True)
        if len(data) <= CURSOR_BYTES:
            self._keep(self._contexts, name, ObservedContext(name, cursor.guid, data), CONTEXTS_KEPT)

    def _keep(self, seen: OrderedDict[KeyT, _Seen[WhatT]], key: KeyT, what: WhatT, limit: int) -> None:
        self._stamp += 1
        seen[key] = _Seen(what, self._stamp)
        seen.move_to_end(key)
        if len(seen) > limit:
            seen.popitem(last=False)


def _newer(seen: OrderedDict[KeyT, _Seen[WhatT]], stamp: int) -> list[_Seen[WhatT]]:
    """What was read after that, in order: what was read last stands at the end."""
    newer: list[_Seen[WhatT]] = []
    for each in reversed(seen.values()):
        if each.stamp <= stamp:
            break
        newer.append(each)
    newer.reverse()
    return newer


def _end(seen: list[_Seen[WhatT]], limit: int, newest: int) -> int:
    """Up to which reading as many as may be carried are all."""
    return seen[limit].stamp - 1 if len(seen) > limit else newest
