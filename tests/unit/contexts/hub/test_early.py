"""What is told to subscribers before it is on this node's disk, and what becomes of it if it never is."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.errors import Overloaded, Reason, TallystickError
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.hub.hub import LocalEdit
from tallystick_node.contexts.hub.subscriptions import Lagging, Pushed
from tests.unit.contexts.hub.kit import DOCUMENT, WORKER_DOWN, WRITER, Replica, Stage, Stream, stage

PEER, CLIENT = worker_pb2.ORIGIN_PEER, worker_pb2.ORIGIN_CLIENT


def merge(update: bytes, origin: worker_pb2.Origin.ValueType = PEER, writer: int = WRITER) -> worker_pb2.Merge:
    return worker_pb2.Merge(origin=origin, update=update, edit=context_pb2.Edit(writer=writer))


async def begun(on: Stage) -> Replica:
    """The document has one edit; peers' are told early from now on."""
    here = Replica()
    await on.hub.merge(DOCUMENT, merge(here.set("k", 0), CLIENT))
    on.port.early = True
    return here


async def test_an_edit_of_a_peer_is_told_once_and_before_it_is_on_disk() -> None:
    async with stage(("a", "b", "c")) as on:
        await begun(on)
        peer = Replica(WRITER + 1)
        told: list[LocalEdit] = []
        on.hub.on_local(told.append)
        subscription = on.hub.audience.subscribe(DOCUMENT)
        merging = on.hub.start_merge(DOCUMENT, merge(update := peer.set("k", 1), writer=WRITER + 1))
        item = await anext(subscription)
        assert isinstance(item, Pushed)
        assert (item.number, item.update) == (2, update)
        assert not merging.done()  # so nobody acknowledges it to the peer
        on.port.may_sync.set()
        assert (await merging).number == 2
        assert subscription.take() is None
        assert not told


async def test_what_follows_an_early_edit_is_told_behind_it() -> None:
    async with stage() as on:
        here = await begun(on)
        subscription = on.hub.audience.subscribe(DOCUMENT)
        peers = [Replica(WRITER + each) for each in (1, 2)]
        updates = [peers[0].set("a", 1), here.set("b", 1), peers[1].set("c", 1)]
        on.port.may_sync.set()
        merging = [
            on.hub.start_merge(DOCUMENT, merge(updates[0], writer=WRITER + 1)),
            on.hub.start_merge(DOCUMENT, merge(updates[1], CLIENT)),
            on.hub.start_merge(DOCUMENT, merge(updates[2], writer=WRITER + 2)),
        ]
        await asyncio.gather(*merging)
        items = [subscription.take() for _ in range(4)]
        assert [item.update for item in items if isinstance(item, Pushed)] == updates
        assert items[3] is None


@pytest.mark.parametrize("why", [WORKER_DOWN, Overloaded("the disk is full", reason=Reason.DISK_FULL)])
async def test_what_was_told_in_vain_makes_its_hearers_ask_for_the_rest(why: TallystickError) -> None:
    async with stage() as on:
        await begun(on)
        on.port.in_vain, on.port.why_in_vain = 1, why
        subscription = on.hub.audience.subscribe(DOCUMENT)
        merging = on.hub.start_merge(DOCUMENT, merge(Replica(WRITER + 1).set("k", 1), writer=WRITER + 1))
        assert isinstance(await anext(subscription), Pushed)
        on.port.may_sync.set()
        await asyncio.wait([merging])
        assert merging.exception() is why
        assert subscription.take() == Lagging()


async def test_a_number_that_was_told_in_vain_hides_no_later_edit() -> None:
    """The worker dies before the commit; another edit gets the number; then the peer's comes again."""
    async with stage() as on:
        here = await begun(on)
        peer, reader = Replica(WRITER + 1), Replica(WRITER + 7)
        async with Stream(on, incarnation=b"r" * 16) as stream:
            reader.apply((await stream.until("part")).part.data)
            on.port.in_vain = 1
            update = peer.set("theirs", 1)
            lost = on.hub.start_merge(DOCUMENT, merge(update, writer=WRITER + 1))
            early = (await stream.until("pushed")).pushed
            assert early.cursor.number == 2
            reader.apply(early.update)
            on.port.may_sync.set()
            await asyncio.wait([lost])
            on.port.early = False
            await on.hub.merge(DOCUMENT, merge(here.set("mine", 1), CLIENT))
            assert on.port.documents[DOCUMENT.guid].number == 2  # the same number once more
            await on.hub.merge(DOCUMENT, merge(update, writer=WRITER + 1))
            while reader.content() != {"k": 0, "theirs": 1, "mine": 1}:
                response = await stream.next()
                reader.apply(response.pushed.update or response.part.data)
