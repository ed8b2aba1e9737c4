"""Links between nodes over real sockets: order, loss, return, and nothing left behind."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tallystick_node.peers.link import PeerLink
from tallystick_node.peers.links import PeerLinks
from tallystick_node.peers.send_queue import SendQueue
from tests.unit.peers_kit import (
    DEADLINE_S,
    Incoming,
    Recorder,
    Relay,
    linked,
    local,
    numbered,
    serving,
    sized,
    watched_log,
)


async def _send_paced(links: PeerLinks, peer_id: str, receiver: Recorder, count: int, from_id: str) -> None:
    """Send numbered messages, never more under way than the queue holds."""
    for start in range(0, count, 1000):
        for number in range(start, start + 1000):
            links.send(peer_id, numbered(number))
        await receiver.got(from_id, max(0, start - 1000))


async def test_three_nodes_exchange_ten_thousand_messages_in_order() -> None:
    count = 10_000
    async with AsyncExitStack() as stack:
        nodes: dict[str, Incoming] = {i: await stack.enter_async_context(serving(i)) for i in "abc"}
        members = {i: node.endpoint for i, node in nodes.items()}
        links = {
            i: await stack.enter_async_context(linked(local(i), members, node.recorder)) for i, node in nodes.items()
        }
        pairs = [(i, j) for i in "abc" for j in "abc" if i != j]
        for i, j in pairs:
            await nodes[i].recorder.up(j)
        assert links["a"].connected == {"b", "c"}
        await asyncio.gather(*(_send_paced(links[i], j, nodes[j].recorder, count, i) for i, j in pairs))
        for i, j in pairs:
            assert await nodes[j].recorder.got(i, count) == list(range(count))
        frames = links["a"].counters["b"].frames
        assert 0 < frames < count / 10, "messages that wait together go in one frame"


async def test_messages_before_the_link_is_up_are_dropped() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint}, recorder) as links:
            links.send("b", numbered(1))
            assert links.counters["b"].dropped == 1
            await recorder.up("b")
            links.send("b", numbered(2))
            assert await b.recorder.got("a", 1) == [2]


async def test_a_stream_goes_one_way() -> None:
    async with serving("a") as a, serving("b") as b, linked(local("a"), {"b": b.endpoint}, a.recorder) as links:
        await a.recorder.up("b")
        links.send("b", numbered(7))
        await b.recorder.got("a", 1)
        assert b.recorder.changes == [], "an incoming stream is no link to that peer"
        assert a.recorder.received == {}


async def test_it_reconnects_after_the_peers_server_restarts() -> None:
    recorder, at_b = Recorder(), Recorder()
    async with AsyncExitStack() as stack:
        async with serving("b", at_b) as b:
            links = await stack.enter_async_context(linked(local("a"), {"b": b.endpoint}, recorder))
            await recorder.up("b")
            links.send("b", numbered(1))
            await at_b.got("a", 1)
        await recorder.down("b")
        links.send("b", numbered(2))
        async with serving("b", at_b, port=b.port):
            await recorder.up("b", times=2)
            links.send("b", numbered(3))
            await at_b.got("a", 2)
    assert at_b.received["a"] == [1, 3]
    assert recorder.changes == [("up", "b"), ("down", "b"), ("up", "b"), ("down", "b")]


async def test_a_silent_peer_is_given_up_and_found_again() -> None:
    async with serving("b") as b:
        relay, recorder = Relay(b.port), Recorder()
        async with relay.open() as endpoint, linked(local("a"), {"b": endpoint}, recorder) as links:
            await recorder.up("b")
            relay.freeze()
            await recorder.down("b")
            assert not links.connected
            relay.thaw()
            await recorder.up("b", times=2)
            links.send("b", numbered(5))
            await b.recorder.until(lambda: 5 in b.recorder.received.get("a", []))


async def test_overflow_resets_the_link() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint}, recorder) as links:
            await recorder.up("b")
            for number in range(10_001):
                links.send("b", numbered(number))
            assert recorder.changes == [("up", "b")], "the receiver is never called from inside send"
            await recorder.up("b", times=2)
            links.send("b", numbered(77))
            await b.recorder.until(lambda: bool(b.recorder.received.get("a")))
            assert b.recorder.received["a"] == [77], "a broken queue is dropped whole"
            assert links.counters["b"].overflows == 1
            assert recorder.changes == [("up", "b"), ("down", "b"), ("up", "b")]


async def test_a_peer_that_reads_nothing_overflows_by_bytes() -> None:
    async with serving("b") as b:
        relay, recorder = Relay(b.port), Recorder()
        link = None
        async with relay.open() as endpoint:
            link = PeerLink(local("a"), "b", endpoint, None, recorder, SendQueue(max_bytes=4_000_000))
            running = asyncio.create_task(link.run())
            await recorder.up("b")
            relay.freeze()
            loop = asyncio.get_running_loop()
            deadline_s = loop.time() + DEADLINE_S
            while link.counters.overflows == 0 and loop.time() < deadline_s:
                link.send(sized(1, 500_000))
                await asyncio.sleep(0)  # give the link its turn
            assert link.counters.overflows == 1
            await recorder.down("b")
            relay.thaw()
            running.cancel()
            await asyncio.wait({running})


async def test_large_messages_go_alone_and_arrive() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint}, recorder) as links:
            await recorder.up("b")
            links.send("b", sized(1, 16 * 1024 * 1024 - 100))
            await b.recorder.got("a", 1)
            links.send("b", sized(2, 9_000_000))
            links.send("b", sized(3, 7_000_000))
            assert await b.recorder.got("a", 3) == [1, 2, 3]
            links.send("b", sized(4, 16 * 1024 * 1024))
            assert links.counters["b"].oversized == 1
            links.send("b", numbered(5))
            assert await b.recorder.got("a", 4) == [1, 2, 3, 5]


async def test_the_wrong_node_at_an_endpoint_is_not_connected() -> None:
    async with serving("c") as c:
        recorder = Recorder()
        with watched_log() as log:
            async with linked(local("a"), {"b": c.endpoint}, recorder) as links:
                logged = await log.until("no link to a peer")
                assert logged["why"] == f"at {c.endpoint} is node c, not b"
                assert links.counters["b"].failed_dials >= 1
            assert recorder.changes == []


async def test_what_a_receiver_raises_comes_out_of_run() -> None:
    class Broken(Recorder):
        def peer_connected(self, peer_id: str) -> None:
            raise RuntimeError("a bug")

    async with serving("b") as b:
        links = PeerLinks(local("a"), {"b": b.endpoint}, None, Broken())
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(links.run(), DEADLINE_S)
        assert [str(error) for error in raised.value.exceptions] == ["a bug"]


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    async with serving("a") as a, serving("b") as b:
        members = {"a": a.endpoint, "b": b.endpoint, "c": "127.0.0.1:1"}
        async with linked(local("a"), members, a.recorder) as links, linked(local("b"), members, b.recorder):
            await a.recorder.up("b")
            await b.recorder.up("a")
            links.send("b", numbered(1))
            await b.recorder.got("a", 1)
        assert a.recorder.changes[-1] == ("down", "b")
    async with asyncio.timeout(DEADLINE_S):
        while asyncio.all_tasks() - before:
            await asyncio.wait(asyncio.all_tasks() - before, timeout=0.1)
