"""The simulated network: connections that keep order, are held up by cuts, and break."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tallystick_node.sim.loop import SimLoop
from tallystick_node.sim.network import CLIENT, SERVER, Connection, End, Frame, Network
from tallystick_node.sim.trace import Trace

ADDRESS = "b:1"
KEEPALIVE_S = 4.0


class Recorder:
    """An end that keeps what it hears."""

    def __init__(self) -> None:
        self.frames: list[object] = []
        self.why = ""

    def arrived(self, frame: Frame) -> None:
        self.frames.append(frame[1])

    def broke(self, why: str) -> None:
        self.why = why


class Server:
    """Takes connections at b."""

    place = "b"

    def __init__(self) -> None:
        self.context = contextvars.copy_context()
        self.ends: list[Recorder] = []

    def accept(self, connection: Connection) -> End:
        self.ends.append(Recorder())
        return self.ends[-1]


class World:
    """A network with a server at b."""

    def __init__(self, seed: int) -> None:
        self.loop = SimLoop()
        self.network = Network(self.loop, random.Random(seed), Trace(lambda: self.loop.now_s))
        self.server = Server()
        self.network.listen(ADDRESS, self.server)

    def run(self, scenario: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            await scenario(self)

        self.loop.run_until_complete(main())

    async def connect(self) -> tuple[Connection, Recorder] | None:
        """A connection from a, and its end there; None: refused, or no answer in 5 s."""
        answer: asyncio.Future[Connection | None] = self.loop.create_future()
        end = Recorder()

        def done(connection: Connection | None) -> End | None:
            answer.set_result(connection)
            return end if connection is not None else None

        self.network.connect("a", ADDRESS, KEEPALIVE_S, contextvars.copy_context(), done)
        await asyncio.wait((answer,), timeout=5.0)
        connection = answer.result() if answer.done() else None
        return None if connection is None else (connection, end)


@pytest.fixture(params=range(5))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(int(request.param))
    yield world
    world.loop.end()


async def _connected(world: World) -> tuple[Connection, Recorder, Recorder]:
    made = await world.connect()
    assert made is not None
    return *made, world.server.ends[-1]


def test_frames_arrive_in_order_whatever_the_delay(world: World) -> None:
    async def scenario(world: World) -> None:
        connection, _, theirs = await _connected(world)
        world.network.delay_s["a", "b"] = (0.0, 0.5)
        for number in range(50):
            connection.send(SERVER, ("data", number, 0))
            await asyncio.sleep(0.01)
        await asyncio.sleep(2.0)
        assert theirs.frames == list(range(50))

    world.run(scenario)


def test_a_cut_holds_back_and_a_mend_brings_it_late_in_order(world: World) -> None:
    async def scenario(world: World) -> None:
        connection, mine, theirs = await _connected(world)
        world.network.delay_s["a", "b"] = (0.0, 0.5)
        for number in range(40):
            connection.send(SERVER, ("data", number, 0))
            if number == 10:
                world.network.cut("a", "b")
            if number == 30:
                world.network.restore("a", "b")
            connection.send(CLIENT, ("data", number, 0))
            await asyncio.sleep(0.05)
        await asyncio.sleep(3.0)
        assert theirs.frames == list(range(40))
        assert mine.frames == list(range(40))
        assert not mine.why and not theirs.why

    world.run(scenario)


def test_a_cut_one_way_lets_the_other_pass(world: World) -> None:
    async def scenario(world: World) -> None:
        connection, mine, theirs = await _connected(world)
        world.network.cut("a", "b")
        connection.send(SERVER, ("data", 1, 0))
        connection.send(CLIENT, ("data", 2, 0))
        await asyncio.sleep(1.0)
        assert (theirs.frames, mine.frames) == ([], [2])

    world.run(scenario)


def test_a_cut_that_lasts_breaks_the_connection_at_both_ends(world: World) -> None:
    async def scenario(world: World) -> None:
        connection, mine, theirs = await _connected(world)
        world.network.cut("a", "b")
        connection.send(SERVER, ("data", 1, 0))
        await asyncio.sleep(KEEPALIVE_S * 2)
        world.network.heal()
        await asyncio.sleep(1.0)
        assert mine.why and theirs.why
        assert theirs.frames == []

    world.run(scenario)


def test_two_cuts_that_end_in_time_break_nothing(world: World) -> None:
    async def scenario(world: World) -> None:
        _, mine, theirs = await _connected(world)
        for _ in range(5):
            world.network.cut("a", "b")
            await asyncio.sleep(KEEPALIVE_S * 0.8)
            world.network.heal()
            await asyncio.sleep(0.1)
        assert not mine.why and not theirs.why

    world.run(scenario)


def test_a_drop_loses_what_is_on_its_way_and_one_may_connect_again(world: World) -> None:
    async def scenario(world: World) -> None:
        connection, mine, theirs = await _connected(world)
        connection.send(SERVER, ("data", "lost", 0))
        world.network.drop("b", "a")
        again, _, new = await _connected(world)
        again.send(SERVER, ("data", "new", 0))
        await asyncio.sleep(1.0)
        assert mine.why and theirs.why
        assert (theirs.frames, new.frames) == ([], ["new"])

    world.run(scenario)


def test_no_connection_comes_through_a_cut_or_to_nobody(world: World) -> None:
    async def scenario(world: World) -> None:
        world.network.cut("b", "a")
        assert await world.connect() is None
        world.network.heal()
        world.network.unlisten(ADDRESS, world.server)
        began_s = world.loop.now_s
        assert await world.connect() is None
        assert world.loop.now_s - began_s < 1.0  # refused, not silent

    world.run(scenario)


def test_a_killed_place_is_told_of_and_a_dark_one_is_found_by_keepalive(world: World) -> None:
    async def scenario(world: World) -> None:
        _, mine, _ = await _connected(world)
        world.network.lose("b", is_told=True)
        await asyncio.sleep(0.1)
        assert mine.why
        world.network.listen(ADDRESS, world.server)
        _, mine, _ = await _connected(world)
        world.network.silence("b")
        world.network.lose("b", is_told=False)
        await asyncio.sleep(KEEPALIVE_S * 0.9)
        assert not mine.why
        await asyncio.sleep(KEEPALIVE_S)
        assert mine.why

    world.run(scenario)
