"""The network: places, wires between them that can be cut, and connections that keep order, each on its own.

A connection behaves as TCP with keepalive does: what is sent into a cut is held back and arrives late, in order, when
the cut ends before a side gives up; a connection that stays cut, or whose other end stands or lost its power, breaks
after `keepalive_s`. One that broke takes what was on its way with it.

Rules of this file:
- Each direction of two places is a wire of its own. "clients" is one place: all clients.
- What arrives is called in the context of who gets it, so a process that stands gets it when it goes on.
"""

from __future__ import annotations

import contextvars
import random
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from tallystick_node.sim.loop import SimLoop
from tallystick_node.sim.trace import Trace

CLIENTS: Final = "clients"
CLIENT: Final = 0
"""The side of a connection that asked for it."""
SERVER: Final = 1
QUICK_S: Final = (0.0002, 0.002)
"""How long a message is on its way when all is well."""
_APART_S: Final = 1e-6
"""Frames of one way arrive this far apart at least."""
RESET: Final = "reset"
"""A frame that ends its connection."""
_AGAIN_S: Final = 0.2
"""TCP sends again what was held back within this long of the end of a cut."""

Frame: TypeAlias = tuple[object, ...]
"""What a connection carries; the first element says what it is, the last how many bytes it stands for."""


class End(Protocol):
    """One end of a connection."""

    def arrived(self, frame: Frame) -> None:
        """The other end sent this."""

    def broke(self, why: str) -> None:
        """The connection is no more."""


class Listener(Protocol):
    """Takes connections at an address."""

    place: str

    @property
    def context(self) -> contextvars.Context:
        """Whose context its ends live in."""

    def accept(self, connection: Connection) -> End:
        """A connection came; its end here."""


class Network:
    """See the module."""

    def __init__(self, loop: SimLoop, rng: random.Random, trace: Trace) -> None:
        self.loop = loop
        self.rng = rng
        self.trace = trace
        self.delay_s: dict[tuple[str, str], tuple[float, float]] = {}
        """By wire; others are quick."""
        self._listeners: dict[str, Listener] = {}
        self._connections: dict[Connection, None] = {}
        self._cuts: dict[tuple[str, str], int] = {}
        self._silent: dict[str, int] = {}
        self._count = 0

    # What happens to it.

    def cut(self, source: str, target: str) -> None:
        """What `source` says does not reach `target`."""
        if (source, target) not in self._cuts:
            self._count += 1
            self._cuts[source, target] = self._count
            self._watch_silence(source, target)

    def restore(self, source: str, target: str) -> None:
        """Ends a cut."""
        if self._cuts.pop((source, target), None) is not None:
            for connection in list(self._connections):
                connection.flush(source, target)

    def heal(self) -> None:
        """Ends every cut and every delay."""
        for source, target in list(self._cuts):
            self.restore(source, target)
        self.delay_s.clear()

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing gets through this way."""
        return (source, target) in self._cuts

    def drop(self, one: str, other: str) -> None:
        """Breaks the connections between two places; both ends hear of it at once, and may connect again."""
        for connection in self._between(one, other):
            connection.break_off("connection reset")

    def silence(self, place: str) -> None:
        """The place answers nothing from now on: it stands, or has no power."""
        self._count += 1
        self._silent[place] = self._count
        self._watch_silence(place, None)

    def wake(self, place: str) -> None:
        """The place answers again."""
        self._silent.pop(place, None)

    def lose(self, place: str, *, is_told: bool) -> None:
        """All that listens at a place, and its ends of all connections, are gone; the other ends are told, or not."""
        for address, listener in list(self._listeners.items()):
            if listener.place == place:
                del self._listeners[address]
        for connection in list(self._connections):
            connection.lose(place, is_told=is_told)

    # What the places do.

    def listen(self, address: str, listener: Listener) -> None:
        """Takes connections at an address."""
        if address in self._listeners:
            raise OSError(f"{address} is in use")
        self._listeners[address] = listener

    def unlisten(self, address: str, listener: Listener) -> None:
        """Takes no more."""
        if self._listeners.get(address) is listener:
            del self._listeners[address]

    def connect(
        self,
        place: str,
        address: str,
        keepalive_s: float,
        context: contextvars.Context,
        done: Callable[[Connection | None], End | None],
    ) -> None:
        """Tries to connect; calls `done` with the connection, whose end it returns, or with None if it was refused.

        Nobody is told when nothing comes back: the caller has a deadline.
        """
        target = address.rpartition(":")[0]

        def arrive() -> None:
            if self.is_cut(place, target) or self.is_cut(target, place) or target in self._silent:
                return
            listener = self._listeners.get(address)
            back_s = self.travel_s(target, place)
            if listener is None:
                self.loop.call_later(back_s, done, None, context=context)
                return
            connection = Connection(self, place, target, keepalive_s)
            self._connections[connection] = None
            connection.set_end(SERVER, listener.accept(connection), listener.context)
            self.loop.call_later(back_s, opened, connection, context=context)

        def opened(connection: Connection) -> None:
            end = done(connection) if connection in self._connections else done(None)
            if end is not None:
                connection.set_end(CLIENT, end, context)

        if not self.is_cut(place, target):
            self.loop.call_later(self.travel_s(place, target), arrive, context=_NOBODY)

    def travel_s(self, source: str, target: str) -> float:
        """How long this message is on its way."""
        return self.rng.uniform(*self.delay_s.get((source, target), QUICK_S))

    def forget(self, connection: Connection) -> None:
        """It broke."""
        self._connections.pop(connection, None)

    def _between(self, one: str, other: str) -> list[Connection]:
        return [connection for connection in self._connections if set(connection.places) == {one, other}]

    def _watch_silence(self, source: str, target: str | None) -> None:
        """Whoever hears nothing from there gives up after its keepalive time."""
        for connection in list(self._connections):
            if source in connection.places and (target is None or target in connection.places):
                self.watch(connection)

    def watch(self, connection: Connection) -> None:
        """Breaks the connection after its keepalive time, if it stays as silent as it is now."""
        before = self._silence_of(connection)
        if before:
            limit_s = connection.keepalive_s * self.rng.uniform(1.0, 1.3)
            self.loop.call_later(limit_s, self._give_up, connection, before, context=_NOBODY)

    def _give_up(self, connection: Connection, before: frozenset[int]) -> None:
        if connection in self._connections and before & self._silence_of(connection):
            connection.break_off("keepalive timed out")

    def _silence_of(self, connection: Connection) -> frozenset[int]:
        """What keeps the connection silent: the numbers of cuts and silences."""
        one, other = connection.places
        causes = (self._cuts.get((one, other)), self._cuts.get((other, one)), *map(self._silent.get, (one, other)))
        return frozenset(cause for cause in causes if cause is not None)


_NOBODY: Final = contextvars.Context()
"""The network's own: no process's."""


class _Way:
    """One direction of a connection: a queue, and an event for each frame of it that takes the first one out."""

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.queue: deque[Frame] = deque()
        self.owed = 0
        """Frames whose event came, or was not made, while the wire was cut."""
        self.free_at_s = 0.0
        self.end: End | None = None
        self.context = _NOBODY
        self.early: list[Frame] = []
        """What came before its end was there."""


class Connection:
    """Two ways between two places. See the module."""

    def __init__(self, network: Network, one: str, other: str, keepalive_s: float) -> None:
        self._network = network
        self.places = (one, other)
        self.keepalive_s = keepalive_s
        self.is_broken = False
        self._ways = (_Way(other, one), _Way(one, other))  # by the side that gets it

    def set_end(self, side: int, end: End, context: contextvars.Context) -> None:
        """Who gets what arrives at a side."""
        way = self._ways[side]
        way.end, way.context = end, context
        early, way.early = way.early, []
        for frame in early:
            self._network.loop.call_soon(self._deliver, way, frame, context=context)

    def send(self, side: int, frame: Frame) -> None:
        """Puts a frame on its way to a side."""
        if self.is_broken:
            return
        way = self._ways[side]
        way.queue.append(frame)
        if self._network.is_cut(way.source, way.target):
            way.owed += 1
        else:
            self._launch(way, 0.0)

    def flush(self, source: str, target: str) -> None:
        """A cut of this way has ended."""
        for way in self._ways:
            if not self.is_broken and (way.source, way.target) == (source, target):
                owed, way.owed = way.owed, 0
                again_s = self._network.rng.uniform(0.0, _AGAIN_S) if owed else 0.0
                for _ in range(owed):
                    self._launch(way, again_s)

    def break_off(self, why: str) -> None:
        """Both ends lose it now; what was on its way is lost."""
        if self.is_broken:
            return
        self.is_broken = True
        self._network.forget(self)
        self._network.trace.add(f"break {self.places[0]}-{self.places[1]} {why}")
        for way in self._ways:
            if way.end is not None:
                self._network.loop.call_soon(way.end.broke, why, context=way.context)

    def lose(self, place: str, *, is_told: bool) -> None:
        """The end at a place is gone. The other hears of it, after all that was sent before; or by its keepalive."""
        for side in (CLIENT, SERVER):
            if self.places[side] == place:
                self.close(side, is_told=is_told)

    def close(self, side: int, *, is_told: bool = True) -> None:
        """The end at a side is gone, likewise."""
        mine, other = self._ways[side], self._ways[1 - side]
        mine.end = None
        mine.early.clear()
        if is_told:
            self.send(1 - side, (RESET, 0))
        else:
            other.queue.clear()
            other.owed = 0

    def _launch(self, way: _Way, again_s: float) -> None:
        network = self._network
        at_s = max(network.loop.now_s + again_s + network.travel_s(way.source, way.target), way.free_at_s)
        way.free_at_s = at_s + _APART_S
        network.loop.call_at(at_s, self._arrive, way, context=_NOBODY)

    def _arrive(self, way: _Way) -> None:
        if self.is_broken or not way.queue:
            return
        if self._network.is_cut(way.source, way.target):
            way.owed += 1
            return
        frame = way.queue.popleft()
        if frame[0] == RESET:
            self.break_off("the other end is gone")
        elif way.end is not None:
            self._network.trace.add(f"{way.source}>{way.target} {frame[0]} {frame[-1]}")
            self._network.loop.call_soon(self._deliver, way, frame, context=way.context)
        elif way.context is _NOBODY:
            way.early.append(frame)  # else its end is gone

    def _deliver(self, way: _Way, frame: Frame) -> None:
        if not self.is_broken and way.end is not None:
            way.end.arrived(frame)
