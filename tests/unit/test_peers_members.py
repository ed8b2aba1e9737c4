"""Members that come and go while links run: who is dialled, who is let in, and what each side hears of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest

from tallystick_node.host import Options, RealHost
from tallystick_node.peers.admission import Admission
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import Caller, LocalNode, from_metadata, to_metadata
from tallystick_node.peers.limits import REMOVED_KEPT
from tallystick_node.peers.link import PeerLink
from tallystick_node.peers.links import PeerLinks
from tallystick_node.peers.processes import Processes
from tallystick_node.peers.refusals import Refused
from tests.unit.peers_kit import DEADLINE_S, Recorder, linked, local, numbered, serving, watched_log

NOWHERE = "127.0.0.1:1"


async def test_links_follow_the_members() -> None:
    async with AsyncExitStack() as stack:
        b, c, d = [await stack.enter_async_context(serving(i, member_ids=("a", "b", "c", "d"))) for i in "bcd"]
        recorder = Recorder()
        links = await stack.enter_async_context(linked(local("a"), {"b": b.endpoint, "c": c.endpoint}, recorder))
        await recorder.up("b")
        await recorder.up("c")
        links.update({"a": NOWHERE, "b": b.endpoint, "d": d.endpoint})
        links.send("c", numbered(1))
        assert links.dropped == 1
        await recorder.down("c")
        await recorder.up("d")
        links.send("d", numbered(2))
        links.send("b", numbered(3))
        assert await d.recorder.got("a", 1) == [2]
        assert await b.recorder.got("a", 1) == [3]
        assert c.recorder.received == {}
        assert links.connected == links.counters.keys() == {"b", "d"}
        assert recorder.changes.count(("up", "b")) == 1, "the link to who stays is left alone"


async def test_an_endpoint_that_changed_is_dialled_anew() -> None:
    async with serving("b") as old, serving("b") as new:
        recorder = Recorder()
        async with linked(local("a"), {"b": old.endpoint}, recorder) as links:
            await recorder.up("b")
            links.update({"b": new.endpoint})
            await recorder.up("b", times=2)
            links.send("b", numbered(1))
            assert await new.recorder.got("a", 1) == [1]
            assert old.recorder.received == {}
            assert links.counters["b"].connects == 2, "numbers only grow"
        assert recorder.changes == [("up", "b"), ("down", "b"), ("up", "b"), ("down", "b")]


async def test_removed_and_added_at_once_is_heard_in_order() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint}, recorder) as links:
            await recorder.up("b")
            for _ in range(5):
                links.update({})
                links.update({"b": b.endpoint})
            await recorder.up("b", times=2)
            assert recorder.changes == [("up", "b"), ("down", "b"), ("up", "b")]


class SlowlyClosing(RealHost):
    """Counts channels; the first is not closed before `may_close`."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()

    def open_channel(
        self, endpoint: str, credentials: grpc.ChannelCredentials | None, options: Options
    ) -> grpc.aio.Channel:
        channel = super().open_channel(endpoint, credentials, options)
        close = channel.close
        self.opened += 1

        async def close_slowly(grace: float | None = None) -> None:
            self.closing.set()
            await self.may_close.wait()
            await close(grace)

        channel.close = close_slowly  # type: ignore[method-assign]
        return channel


async def test_a_peer_has_one_link_at_a_time() -> None:
    async with serving("b") as b:
        recorder, host = Recorder(), SlowlyClosing()
        links = PeerLinks(local("a"), {"b": b.endpoint}, None, recorder, host=host)
        running = asyncio.create_task(links.run())
        try:
            await recorder.up("b")
            links.update({})
            links.update({"b": b.endpoint})
            async with asyncio.timeout(DEADLINE_S):
                await host.closing.wait()
            assert host.opened == 1
            host.may_close.set()
            await recorder.up("b", times=2)
        finally:
            host.may_close.set()
            running.cancel()
            await asyncio.wait({running}, timeout=DEADLINE_S)


async def test_a_link_that_is_cancelled_while_it_ends_says_so() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        link = PeerLink(local("a"), "b", b.endpoint, None, recorder)
        running = asyncio.create_task(link.run())
        await recorder.up("b")
        b.servicer.close()
        async with asyncio.timeout(DEADLINE_S):
            while link._queue.is_open:  # noqa: ASYNC110  the very turn in which it ends
                await asyncio.sleep(0)
        assert link.is_connected
        running.cancel()
        await asyncio.wait({running}, timeout=DEADLINE_S)
        assert recorder.changes == [("up", "b"), ("down", "b")]


async def test_members_may_change_before_and_after_links_run() -> None:
    before = asyncio.all_tasks()
    async with serving("b") as b:
        recorder = Recorder()
        links = PeerLinks(local("a"), {"c": NOWHERE}, None, recorder)
        links.update({"b": b.endpoint})
        running = asyncio.create_task(links.run())
        await recorder.up("b")
        running.cancel()
        await asyncio.wait({running}, timeout=DEADLINE_S)
        links.update({"c": NOWHERE})
        assert recorder.changes == [("up", "b"), ("down", "b")]
    async with asyncio.timeout(DEADLINE_S):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left, timeout=0.1)


async def test_links_without_a_peer_run_until_cancelled() -> None:
    async with serving("b") as b:
        recorder = Recorder()
        async with linked(local("a"), {}, recorder) as links:
            await asyncio.sleep(0)
            links.update({"b": b.endpoint})
            await recorder.up("b")


async def test_a_removed_node_hears_of_it() -> None:
    async with serving("b", member_ids=("a", "b")) as b:
        recorder = Recorder()
        async with linked(local("a"), {"b": b.endpoint, "c": NOWHERE}, recorder) as links:
            await recorder.up("b")
            with watched_log() as log:
                b.servicer.update(("b", "c"))
                logged = await log.until("refused the stream of a peer")
                assert logged["why"] == "Node a is no longer a member of this cluster."
            await recorder.until(lambda: recorder.changes.count(("removed", "b")) >= 2)
            assert links.removed_by == {"b"}
            assert not links.connected
            assert b.servicer.counters.refused[Refusal.REMOVED] >= 2
            b.servicer.update(("a", "b", "c"))
            await recorder.up("b", times=2)
            assert links.removed_by == frozenset(), "a removal that is undone is forgotten"
            links.send("b", numbered(1))
            assert await b.recorder.got("a", 1) == [1]


async def test_an_unknown_node_is_not_told_that_it_was_removed() -> None:
    async with serving("b", member_ids=("b", "c")) as b:
        recorder = Recorder()
        with watched_log() as log:
            async with linked(local("a"), {"b": b.endpoint}, recorder) as links:
                logged = await log.until("no link to a peer")
                assert logged["why"] == "PERMISSION_DENIED: a is no member that b knows."
                assert links.removed_by == frozenset()
        assert recorder.changes == []


async def test_a_node_added_again_on_a_new_folder_is_taken() -> None:
    async with serving("b", member_ids=("a", "b")) as b:
        recorder = Recorder()
        async with linked(local("a", 7, "old folder"), {"b": b.endpoint}, recorder):
            await recorder.up("b")
        b.servicer.update(("b",))
        b.servicer.update(("a", "b"))
        async with linked(local("a", 1, "new folder"), {"b": b.endpoint}, recorder) as links:
            await recorder.up("b", times=2)
            links.send("b", numbered(1))
            assert await b.recorder.got("a", 1) == [1]


async def test_a_member_that_lost_its_folder_is_not_taken() -> None:
    async with serving("b", member_ids=("a", "b")) as b:
        recorder = Recorder()
        async with linked(local("a", 7, "old folder"), {"b": b.endpoint}, recorder):
            await recorder.up("b")
        with watched_log() as log:
            async with linked(local("a", 1_000_007, "new folder"), {"b": b.endpoint}, recorder) as links:
                logged = await log.until("no link to a peer")
                assert "remove it from the members and add it again" in str(logged["why"])
                assert not links.connected
                b.servicer.update(("a", "b"), unseen=True)  # it may have been removed and added again
                await recorder.up("b", times=2)


def test_processes_of_one_node() -> None:
    def refusal(data_id: str, incarnation: int) -> Refusal | None:
        refused = processes.admit(Caller("cluster", "a", incarnation, "1.1", data_id))
        return refused.refusal if refused else None

    processes = Processes()
    assert refusal("", 3) is None, "a node of version 1.0 says nothing of its folder"
    assert refusal("folder", 2) is Refusal.OLD_INCARNATION
    assert refusal("folder", 4) is None
    assert refusal("", 5) is None, "back to version 1.0"
    assert refusal("folder", 4) is Refusal.OLD_INCARNATION
    assert refusal("another", 9) is Refusal.OTHER_DATA_FOLDER, "the folder was remembered"
    processes.keep(("a", "b"))
    assert refusal("another", 9) is Refusal.OTHER_DATA_FOLDER
    processes.keep(("b",))
    assert refusal("another", 1) is None


def test_how_many_removed_nodes_are_remembered() -> None:
    def refusal(node_id: str) -> Refusal:
        refused = admission.check_member(node_id)
        assert isinstance(refused, Refused)
        return refused.refusal

    admission = Admission(local("b"), ("b",), require_certificate=False)
    for number in range(REMOVED_KEPT + 1):
        admission.update(("b", f"n{number}"))
    admission.update(("b",))
    assert refusal("n0") is Refusal.UNKNOWN_NODE
    assert refusal("n1") is refusal(f"n{REMOVED_KEPT}") is Refusal.REMOVED
    admission.update(("b", "n1"))
    assert admission.check_member("n1") is None
    assert admission.check_member("b") is None


@pytest.mark.parametrize("data_id", ["0123456789abcdef" * 2, ""])
def test_the_data_folder_travels(data_id: str) -> None:
    said = [(key, value) for key, value in to_metadata(LocalNode("cluster", "a", 3, data_id)) if value]
    assert from_metadata(said).data_id == data_id
    with pytest.raises(ValueError, match="tallystick-data-id is longer than 64 characters"):
        from_metadata([*said, ("tallystick-data-id", "x" * 65)])


def test_both_refusals_are_denials() -> None:
    assert {Refused(kind, "").code for kind in (Refusal.REMOVED, Refusal.UNKNOWN_NODE)} == {
        grpc.StatusCode.PERMISSION_DENIED
    }
