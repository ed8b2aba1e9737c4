"""Ack levels: a majority of the voters of the moment, this node among them."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.errors import NotFound
from tallystick_node.contexts.hub import acks as module
from tallystick_node.contexts.hub.acks import Acks
from tallystick_node.contexts.ids import ContextId
from tests.unit.contexts.hub.kit import DOCUMENT, GUID


class Waits:
    """Acks of node a, and whether a wait has ended."""

    def __init__(self, *voters: str) -> None:
        self.voters = frozenset(voters)
        self.acks = Acks("a", lambda: self.voters)

    async def wait(self, number: int, document: ContextId = DOCUMENT) -> asyncio.Task[int]:
        task = asyncio.create_task(self.acks.reached(document, number))
        await asyncio.sleep(0)
        return task

    async def has_ended(self, task: asyncio.Task[int]) -> bool:
        for _ in range(3):
            await asyncio.sleep(0)
        return task.done()


async def test_a_cluster_of_one_is_a_majority() -> None:
    waits = Waits("a")
    waits.acks.merged(DOCUMENT, 3)
    assert await waits.acks.reached(DOCUMENT, 3) == 3


@pytest.mark.parametrize(("voters", "peers"), [("abc", "b"), ("abcd", "bc"), ("abcde", "bc")])
async def test_a_majority_with_this_node(voters: str, peers: str) -> None:
    waits = Waits(*voters)
    waits.acks.merged(DOCUMENT, 2)
    task = await waits.wait(2)
    for peer in peers:
        assert not await waits.has_ended(task)
        waits.acks.note(peer, DOCUMENT, 2)
    assert await waits.has_ended(task)
    assert waits.acks.quorum(DOCUMENT) == 2


async def test_a_learner_counts_for_nothing_other_or_self() -> None:
    waits = Waits("b", "c", "d")
    waits.acks.merged(DOCUMENT, 1)
    task = await waits.wait(1)
    waits.acks.note("learner", DOCUMENT, 1)
    waits.acks.note("b", DOCUMENT, 1)
    assert not await waits.has_ended(task)
    waits.acks.note("c", DOCUMENT, 1)
    assert await waits.has_ended(task)


async def test_an_older_number_does_not_end_the_wait() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 5)
    task = await waits.wait(5)
    waits.acks.note("b", DOCUMENT, 4)
    assert not await waits.has_ended(task)
    assert waits.acks.quorum(DOCUMENT) == 4
    task.cancel()


async def test_what_was_known_already_is_acknowledged_anew() -> None:
    waits = Waits("a", "b", "c", "d", "e")
    waits.acks.merged(DOCUMENT, 8)
    waits.acks.note("b", DOCUMENT, 8)  # of what was pushed: 7 was of a peer
    waits.acks.merged(DOCUMENT, 8, is_novel=False)
    task = await waits.wait(8)
    waits.acks.note("c", DOCUMENT, 8)  # of the push of 8; it was on its way when 8 was offered
    assert not await waits.has_ended(task)
    for peer in "bc":
        waits.acks.note(peer, DOCUMENT, 8, whole=8)  # of the offer
    assert await waits.has_ended(task)


async def test_who_has_the_whole_log_needs_only_what_is_pushed_after() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 8)
    waits.acks.merged(DOCUMENT, 8, is_novel=False)
    waits.acks.note("b", DOCUMENT, 8, whole=8)
    waits.acks.merged(DOCUMENT, 9)
    waits.acks.note("b", DOCUMENT, 9)
    assert await waits.acks.reached(DOCUMENT, 9) == 9
    waits.acks.merged(DOCUMENT, 9, is_novel=False)
    assert waits.acks.quorum(DOCUMENT) == 8
    waits.acks.note("b", DOCUMENT, 9, whole=4)  # of an offer of before
    assert waits.acks.quorum(DOCUMENT) == 8


async def test_voters_that_change_are_the_voters() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 1)
    task = await waits.wait(1)
    waits.voters = frozenset("a")
    waits.acks.settle()
    assert await waits.has_ended(task)


async def test_a_log_that_begins_anew_has_no_acks() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 9)
    waits.acks.note("b", DOCUMENT, 9)
    waits.acks.merged(DOCUMENT, 2)
    assert waits.acks.quorum(DOCUMENT) == 0
    waits.acks.note("c", DOCUMENT, 9)  # late, of the old log
    assert waits.acks.quorum(DOCUMENT) == 0


async def test_a_new_epoch_holds_what_the_old_one_had() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 4)
    task = await waits.wait(4)
    waits.acks.moved(ContextId(GUID, 2), 0)
    assert await waits.has_ended(task)


async def test_what_is_carried_over_waits_for_its_number_there() -> None:
    waits = Waits("a", "b", "c")
    new = ContextId(GUID, 2)
    waits.acks.merged(DOCUMENT, 4)
    task = await waits.wait(4)
    waits.acks.moved(new, 2)
    assert not await waits.has_ended(task)
    waits.acks.note("c", new, 2)
    assert await waits.has_ended(task)


async def test_who_waits_for_a_deleted_document_hears_it() -> None:
    waits = Waits("a", "b", "c")
    task = await waits.wait(1)
    waits.acks.forget(GUID)
    with pytest.raises(NotFound):
        await task


async def test_a_wait_that_is_given_up_leaves_nothing() -> None:
    waits = Waits("a", "b", "c")
    waits.acks.merged(DOCUMENT, 1)
    task = await waits.wait(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    waits.acks.note("b", DOCUMENT, 1)
    assert waits.acks.pending() == []


async def test_the_table_is_bounded_and_those_at_quorum_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACKED_DOCUMENTS", 3)
    waits = Waits("a", "b", "c")
    documents = [ContextId(bytes([n]) * 16, 1) for n in range(5)]
    for document in documents[:3]:
        waits.acks.merged(document, 1)
    waits.acks.note("b", documents[1], 1)
    waits.acks.merged(documents[3], 1)
    assert not waits.acks.knows(documents[1])
    task = await waits.wait(1, documents[0])
    waits.acks.merged(documents[4], 1)
    assert waits.acks.knows(documents[0])  # it is awaited
    assert len(waits.acks) == 3
    task.cancel()
