"""Subscriptions: what is merged reaches subscribers in order, but their own; nothing is left out unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.errors import NotFound, Reason, Unavailable
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.hub.hub import Hub, LocalEdit
from tallystick_node.contexts.hub.subscriptions import Lagging, Moved, Pushed, Subscription
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import SUBSCRIBER_BYTES
from tallystick_node.contexts.port import OnEarly
from tests.unit.contexts.hub.kit import DOCUMENT, GUID, WORKER_DOWN, WRITER, MemoryPort, Replica


def edit_of(update: bytes) -> worker_pb2.Merge:
    """Of a client's."""
    author = context_pb2.Edit(writer=WRITER, actor="ann")
    return worker_pb2.Merge(update=update, origin=worker_pb2.ORIGIN_CLIENT, edit=author)


def make_hub(port: MemoryPort) -> Hub:
    return Hub(port, node_id="a", clock=lambda: 0.0, unix_ms=lambda: 1, voters=lambda: frozenset("a"))


def taken(subscription: Subscription) -> list[str]:
    """What waits, by kind and number."""
    found = []
    while (item := subscription.take()) is not None:
        found.append(f"{type(item).__name__}{item.number if isinstance(item, Pushed) else ''}")
    return found


async def test_updates_come_in_order_but_ones_own() -> None:
    hub, replica = make_hub(MemoryPort()), Replica()
    first, second = hub.audience.subscribe(DOCUMENT), hub.audience.subscribe(DOCUMENT)
    merges = [hub.start_merge(DOCUMENT, edit_of(replica.set("k", n)), first) for n in range(3)]
    await asyncio.wait(merges)
    assert taken(first) == []
    assert taken(second) == ["Pushed1", "Pushed2", "Pushed3"]


async def test_an_async_iterator_gives_the_same() -> None:
    hub, replica = make_hub(MemoryPort()), Replica()
    with hub.audience.subscribe(DOCUMENT) as subscription:
        update = replica.set("k", 1)
        await hub.merge(DOCUMENT, edit_of(update))
        item = await anext(subscription)
        assert isinstance(item, Pushed)
        assert (item.update, item.state_vector) == (update, replica.state_vector)
    assert hub.audience.of(GUID) == 0


async def test_what_is_known_is_not_pushed_again() -> None:
    hub, replica = make_hub(MemoryPort()), Replica()
    update = replica.set("k", 1)
    await hub.merge(DOCUMENT, edit_of(update))
    subscription = hub.audience.subscribe(DOCUMENT)
    await hub.merge(DOCUMENT, edit_of(update))
    assert taken(subscription) == []


async def test_a_merge_whose_caller_has_gone_is_told_all_the_same() -> None:
    port = MemoryPort()
    hub, replica = make_hub(port), Replica()
    subscription = hub.audience.subscribe(DOCUMENT)
    port.hold = asyncio.Event()
    merging = asyncio.create_task(hub.merge(DOCUMENT, edit_of(replica.set("k", 1))))
    await port.was_asked.wait()
    merging.cancel()
    await asyncio.gather(merging, return_exceptions=True)
    port.hold.set()
    assert isinstance(await asyncio.wait_for(anext(subscription), 20), Pushed)


async def test_too_much_that_waits_becomes_lagging() -> None:
    hub, replica = make_hub(MemoryPort()), Replica()
    slow = hub.audience.subscribe(DOCUMENT)
    for number in range(6):
        await hub.merge(DOCUMENT, edit_of(replica.set("k", f"{number}" * (SUBSCRIBER_BYTES // 5))))
    assert taken(slow) == ["Lagging"]
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 1)))
    assert taken(slow) == ["Pushed7"]


async def test_a_lost_answer_makes_all_lag_for_it_may_have_been_merged() -> None:
    port = MemoryPort()
    hub, replica = make_hub(port), Replica()
    told: list[LocalEdit] = []
    hub.on_local(told.append)
    subscription = hub.audience.subscribe(DOCUMENT)
    port.lose = 1
    update = replica.set("k", 1)
    with pytest.raises(Unavailable) as raised:
        await hub.merge(DOCUMENT, edit_of(update))
    assert raised.value is WORKER_DOWN
    assert taken(subscription) == ["Lagging"]
    await hub.merge(DOCUMENT, edit_of(update))  # again: it is known, and the other nodes are offered it
    assert [(edit.number, edit.update) for edit in told] == [(1, b"")]


async def test_a_number_that_was_skipped_makes_all_lag() -> None:
    port = MemoryPort()
    hub, replica = make_hub(port), Replica()
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 1)))
    subscription = hub.audience.subscribe(DOCUMENT)
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 2)))
    port.documents[GUID].number += 1  # merged past this hub
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 3)))
    assert taken(subscription)[-1] == "Lagging"


async def test_the_end_of_a_document_comes_after_what_waits() -> None:
    hub, replica = make_hub(MemoryPort()), Replica()
    subscription = hub.audience.subscribe(DOCUMENT)
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 1)))
    hub.deleted(GUID)
    assert isinstance(await anext(subscription), Pushed)
    with pytest.raises(NotFound) as raised:
        await anext(subscription)
    assert raised.value.reason is Reason.CONTEXT_NOT_FOUND
    subscription.close()
    await hub.chores.settled(GUID)


async def test_a_new_epoch_takes_the_place_of_what_waits() -> None:
    port = MemoryPort()
    hub, replica = make_hub(port), Replica()
    subscription = hub.audience.subscribe(DOCUMENT)
    await hub.merge(DOCUMENT, edit_of(replica.set("k", 1)))

    async def writer() -> int:
        return WRITER + 7

    hub.epoch_started(ContextId(GUID, 2), Replica(1).set("k", 1), writer)
    await hub.chores.settled(GUID)
    assert subscription.take() == Moved(ContextId(GUID, 2), 0)
    assert subscription.take() is None


async def test_the_worker_is_told_again_until_it_has_heard() -> None:
    port = MemoryPort()
    hub = make_hub(port)
    port.error = WORKER_DOWN
    hub.created(DOCUMENT, Replica(1).set("seeded", value=True))
    describe = worker_pb2.Describe(id=DOCUMENT.to_proto())
    asking = asyncio.create_task(hub.ask(GUID, worker_pb2.Request(describe=describe)))
    await port.was_asked.wait()
    port.error = None
    described = (await asyncio.wait_for(asking, 20)).described  # only now, after the seed
    assert described.cursor.number == 1
    assert port.content() == {"seeded": True}


async def test_what_is_merged_without_its_bytes_at_hand_makes_all_lag() -> None:
    """A peer's diff that came in parts is in the worker alone."""

    class Staged(MemoryPort):
        async def ask(self, request: worker_pb2.Request, on_early: OnEarly | None = None) -> worker_pb2.Response:
            return worker_pb2.Response(merged=worker_pb2.Merged(is_novel=True, number=1))

    hub = make_hub(Staged())
    subscription = hub.audience.subscribe(DOCUMENT)
    await hub.merge(DOCUMENT, worker_pb2.Merge(origin=worker_pb2.ORIGIN_PEER, staged=4))
    assert subscription.take() == Lagging()


async def test_what_speaks_against_a_merge_is_asked_right_before_the_worker() -> None:
    port = MemoryPort()
    hub = make_hub(port)

    def refuse(document: ContextId, origin: worker_pb2.Origin.ValueType) -> None:
        raise Unavailable(f"{document.epoch} {origin}", reason=Reason.CONTEXT_SEALED)

    hub.admit = refuse
    with pytest.raises(Unavailable):
        await hub.merge(DOCUMENT, edit_of(b""))
    assert port.asked == []
