"""What the exchange between nodes remembers: what waits, is owed, is covered, is to be answered. All of it bounded."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random

import pytest

from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick_node.contexts.comparing import find_differences, root_of
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.coverage import Coverage
from tallystick_node.peers.contexts.limits import (
    ASK_AGAIN_MIN_S,
    CONTEXT_FRAME_BYTES,
    CONTEXT_FRAME_ITEMS,
    PUSHED_UPDATE_BYTES,
)
from tallystick_node.peers.contexts.outbox import Outbox
from tallystick_node.peers.contexts.owed import Owed, TooMuchOwedError
from tallystick_node.peers.contexts.replies import Replies
from tests.unit.context_peers_kit import compare


def document(number: int, epoch: int = 1) -> ContextId:
    """One of many."""
    return ContextId(number.to_bytes(16, "big"), epoch)


D1, D2 = document(1), document(2)


def put(outbox: Outbox, pushed: ContextId, number: int, size_bytes: int = 10) -> None:
    """An edit of this size."""
    push = peer_pb2.ContextPush(id=pushed.to_proto(), number=number, update=bytes(size_bytes))
    outbox.push(push, size_bytes)


def taken(outbox: Outbox) -> list[tuple[ContextId, int, bool]]:
    """All that waits: document, number, and whether it is an offer."""
    found: list[tuple[ContextId, int, bool]] = []
    while pushes := outbox.take_frame().pushes:
        found += [(ContextId.of(push.id), push.number, not push.update) for push in pushes]
    return found


def test_edits_go_in_order_and_acks_are_cumulative() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 1)
    put(outbox, D1, 4)
    put(outbox, D2, 1)
    assert taken(outbox) == [(D1, 1, False), (D1, 4, False), (D2, 1, False)]
    assert outbox.acked(D1, 1) == 1
    assert outbox.unacked == 2
    assert outbox.acked(D1, 4) == 4
    assert outbox.unacked == 1


def test_the_first_edit_goes_as_an_offer_unless_its_log_begins_with_it() -> None:
    outbox = Outbox(max_documents=2)
    outbox.open()
    put(outbox, D1, 4)
    put(outbox, D1, 5)
    put(outbox, D2, 1)
    assert taken(outbox) == [(D1, 5, True), (D1, 5, False), (D2, 1, False)]
    outbox.begin_anew()
    put(outbox, D1, 6)
    assert taken(outbox) == [(D1, 6, True)]
    put(outbox, document(3), 1)  # there is no room for it
    assert outbox.acked(D2, 1) == 1
    put(outbox, document(3), 2)
    assert taken(outbox) == [(document(3), 2, True)]


def test_an_ack_of_what_was_pushed_does_not_end_the_offer_under_the_same_number() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 1)
    assert taken(outbox) == [(D1, 1, False)]
    put(outbox, D1, 1, 0)  # somebody sent what was known here already
    assert outbox.acked(D1, 1) == 1  # of the push
    assert taken(outbox) == [(D1, 1, True)]
    assert outbox.acked(D1, 1) == 1
    assert outbox.unacked == 1
    assert outbox.acked(D1, 1, whole=1) == 1
    assert outbox.unacked == 0


def test_an_ack_of_what_was_not_sent_is_not_believed() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 3)
    assert outbox.acked(D1, 4) is None
    assert outbox.acked(D2, 1) is None
    assert outbox.unacked == 1


def test_a_diff_acknowledges_the_edits_that_are_in_it_and_no_number_beyond() -> None:
    outbox = Outbox()
    outbox.open()
    outbox.sends(D2, 9)
    assert outbox.acked(D2, 9) == 0
    put(outbox, D1, 3)
    outbox.sends(D1, 7)  # with four edits of other nodes
    assert outbox.acked(D1, 7, whole=7) == 3
    assert outbox.unacked == 0
    put(outbox, D1, 8)
    outbox.sends(D1, 7)  # made before
    assert outbox.acked(D1, 7, whole=7) == 7
    assert outbox.acked(D1, 8, whole=8) == 8


def test_a_new_link_offers_what_was_not_acknowledged_of_the_documents_that_still_are() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 1)
    put(outbox, D2, 2)
    outbox.close()
    put(outbox, D1, 3)
    outbox.open(lambda wanted: wanted == D1)
    put(outbox, D1, 4)
    assert taken(outbox) == [(D1, 4, True), (D1, 4, False)]
    assert outbox.unacked == 1


def test_where_there_is_no_room_all_that_waits_is_dropped_and_offered_before_anything_newer() -> None:
    outbox = Outbox(max_bytes=100)
    outbox.open()
    put(outbox, D1, 1, 60)
    put(outbox, D2, 1, 60)
    put(outbox, D2, 2, 60)
    assert outbox.overflows == 1
    assert taken(outbox) == [(D1, 1, True), (D2, 2, True), (D2, 2, False)]


def test_a_large_edit_is_offered() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 1, PUSHED_UPDATE_BYTES + 1)
    assert taken(outbox) == [(D1, 1, True)]


def test_frames_are_bounded() -> None:
    outbox = Outbox()
    outbox.open()
    for number in range(1, CONTEXT_FRAME_ITEMS + 2):
        put(outbox, D1, number)
    assert len(outbox.take_frame().pushes) == CONTEXT_FRAME_ITEMS
    assert len(outbox.take_frame().pushes) == 1
    for number in range(3):
        put(outbox, D1, CONTEXT_FRAME_ITEMS + 2 + number, CONTEXT_FRAME_BYTES // 2)
    assert len(outbox.take_frame().pushes) == 2


def test_the_tables_of_an_outbox_are_bounded() -> None:
    outbox = Outbox(max_documents=10)
    for number in range(100):
        put(outbox, document(number), 1)
    assert outbox.unacked == 10


def test_numbers_that_begin_anew_are_acknowledged_too() -> None:
    outbox = Outbox()
    outbox.open()
    put(outbox, D1, 100)
    put(outbox, D1, 1)  # the document was lost here and fetched anew
    assert outbox.acked(D1, 1) == 1
    assert outbox.unacked == 0


def test_presence_is_replaced_by_newer_and_dropped_without_a_link() -> None:
    outbox = Outbox()
    outbox.tell(b"g", [context_pb2.PresenceState(writer=1, clock=1)])
    outbox.open()
    assert not outbox.take_frame().presences
    for clock in (1, 2):
        outbox.tell(b"g", [context_pb2.PresenceState(writer=1, clock=clock)])
    presence = outbox.take_frame().presences
    assert [state.clock for state in presence[0].states] == [2]


def test_while_something_is_owed_nothing_of_the_document_is_acknowledged() -> None:
    owed = Owed()
    assert owed.merged(D1, 1) == 1
    owed.failed(D1, 2, 0.0)
    assert owed.take_due(0.0, 10) == [D1]
    assert owed.take_due(0.0, 10) == []
    assert owed.merged(D1, 3) == 0
    assert owed.merged(D2, 9) == 9
    assert owed.answered(D1, 1, 1.0) == 0  # made before 2 was
    assert owed.take_due(1.0, 10) == [D1]
    assert owed.answered(D1, 2, 1.0) == 3
    assert D1 not in owed


def test_who_does_not_answer_is_asked_again_later_each_time() -> None:
    owed = Owed()
    owed.failed(D1, 2, 0.0)
    asked, now_s = [], 0.0
    while now_s < 200:
        if owed.take_due(now_s, 10):
            asked.append(now_s)
        now_s += 0.5
    waits = [after - before for before, after in itertools.pairwise(asked)]
    assert waits == sorted(waits)
    assert 0 < waits[0] < waits[-1]


def test_who_says_that_it_cannot_answer_now_is_asked_again_before_long() -> None:
    owed = Owed()
    owed.failed(D1, 0, 0.0)
    now_s = 0.0
    for _ in range(10):
        now_s += ASK_AGAIN_MIN_S
        assert owed.take_due(now_s, 10) == [D1]
        owed.given_up(D1, now_s)
        assert owed.take_due(now_s, 10) == []


def test_what_cannot_be_asked_for_is_tried_again_soon_and_at_once_when_it_can() -> None:
    owed = Owed()
    owed.failed(D1, 1, 0.0)
    tried: list[float] = []
    now_s = 0.0
    while now_s < 200:
        if owed.take_due(now_s, 10):
            tried.append(now_s)
            owed.again(D1, now_s)
        now_s += 0.125
    waits = [after - before for before, after in itertools.pairwise(tried)]
    assert waits == sorted(waits)
    assert waits[0] < 1 < waits[-1]
    owed.soon(D1, now_s)
    assert owed.take_due(now_s, 10) == [D1]
    owed.soon(D1, now_s)  # it is asked already
    assert owed.take_due(now_s, 10) == []


def test_a_diff_that_was_wanted_for_its_own_sake_holds_no_ack_back() -> None:
    owed = Owed()
    owed.failed(D1, 0, 0.0)
    assert owed.merged(D1, 5) == 5
    assert owed.answered(D1, 4, 0.0) == 4
    assert not len(owed)


def test_too_much_that_is_owed_ends_the_stream() -> None:
    owed = Owed(max_documents=3)
    for number in range(3):
        owed.failed(document(number), 1, 0.0)
    with pytest.raises(TooMuchOwedError):
        owed.failed(document(3), 1, 0.0)
    owed.failed(document(1), 2, 0.0)


def test_a_log_is_covered_by_diffs_and_by_pushes_without_a_gap() -> None:
    coverage = Coverage(lambda _node_id, _document: False)
    coverage.pushed("a", D1, 1, is_novel=True)
    coverage.pushed("a", D1, 2, is_novel=True)
    assert coverage.holds("a", D1, 2)
    coverage.pushed("a", D1, 4, is_novel=True)  # 3 came to a from another node
    assert not coverage.holds("a", D1, 3)
    coverage.diffed("a", D1, 6, is_novel=False)
    assert coverage.holds("a", D1, 6)
    assert not coverage.holds("b", D1, 1)
    assert not coverage.holds("a", document(1, epoch=2), 1)


def test_what_is_new_under_a_known_number_says_that_the_log_began_anew() -> None:
    coverage = Coverage(lambda _node_id, _document: False)
    coverage.diffed("a", D1, 6, is_novel=True)
    coverage.pushed("a", D1, 5, is_novel=False)
    assert coverage.holds("a", D1, 6)
    coverage.pushed("a", D1, 5, is_novel=True)
    assert not coverage.holds("a", D1, 1)
    coverage.diffed("a", D1, 9, is_novel=True)
    coverage.forget_node("a")
    assert not coverage.holds("a", D1, 1)


def test_numbers_of_a_log_of_another_name_are_others() -> None:
    coverage = Coverage(lambda _node_id, _document: False)
    coverage.diffed("a", D1, 9, b"old", is_novel=True)
    assert coverage.holds("a", D1, 9, b"old")
    assert not coverage.holds("a", D1, 9, b"new")
    coverage.pushed("a", D1, 10, b"new", is_novel=True)
    assert not coverage.holds("a", D1, 1, b"new")
    assert not coverage.holds("a", D1, 1, b"old")
    coverage.diffed("a", D1, 3, b"new", is_novel=False)
    coverage.pushed("a", D1, 4, b"new", is_novel=True)
    assert coverage.holds("a", D1, 4, b"new")
    coverage.pushed("a", D1, 1, b"third", is_novel=True)
    assert coverage.holds("a", D1, 1, b"third")


async def test_who_waits_for_a_log_is_not_told_of_another() -> None:
    coverage = Coverage(lambda _node_id, _document: True)
    waiting = asyncio.create_task(coverage.catch_up("a", D1, 2, b"old"))
    await asyncio.sleep(0)
    coverage.diffed("a", D1, 5, b"new", is_novel=True)
    await asyncio.sleep(0)
    assert not waiting.done()
    coverage.diffed("a", D1, 2, b"old", is_novel=True)
    async with asyncio.timeout(5):
        await waiting


def test_offers_name_their_log() -> None:
    outbox = Outbox()
    outbox.push(peer_pb2.ContextPush(id=D1.to_proto(), number=3, log=b"name", update=b"x"), 10)
    outbox.sends(D2, 4, b"other")
    outbox.open()
    assert {push.number: push.log for push in outbox.take_frame().pushes} == {3: b"name", 4: b"other"}


def test_coverage_is_bounded_and_keeps_what_is_used() -> None:
    coverage = Coverage(lambda _node_id, _document: False, max_documents=3)
    for number in range(3):
        coverage.diffed("a", document(number), 1, is_novel=True)
    assert coverage.holds("a", document(0), 1)
    coverage.diffed("a", document(3), 1, is_novel=True)
    assert coverage.holds("a", document(0), 1)
    assert not coverage.holds("a", document(1), 1)


def test_another_worker_may_hold_less_and_covers_nothing() -> None:
    worker = 0
    coverage = Coverage(lambda _node_id, _document: False, lambda: worker)
    coverage.diffed("a", D1, 6, is_novel=True)
    assert coverage.holds("a", D1, 6)
    worker = 1
    assert not coverage.holds("a", D1, 6)
    coverage.diffed("a", D1, 2, is_novel=False)
    assert coverage.holds("a", D1, 2)


async def test_a_catch_up_that_is_cancelled_leaves_nothing() -> None:
    asked: list[tuple[str, ContextId]] = []

    def ask(node_id: str, wanted: ContextId) -> bool:
        asked.append((node_id, wanted))
        return True

    coverage = Coverage(ask)
    waiting = asyncio.create_task(coverage.catch_up("a", D1, 2))
    await asyncio.sleep(0)
    assert coverage.wanted_of("a") == [D1]
    coverage.diffed("a", D1, 1, is_novel=True)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert coverage.wanted_of("a") == []
    assert asked == [("a", D1)]


async def test_replies_join_and_are_bounded() -> None:
    replies = Replies()
    for number in range(1, 4):
        replies.ack(D1, number, whole=number & 2)
    replies.behind(D1, b"old")
    replies.behind(D1, b"new")
    for number in range(2 * CONTEXT_FRAME_ITEMS):
        replies.behind(document(number + 5), bytes(CONTEXT_FRAME_BYTES // 4))
    first = await replies.take()
    assert [(ack.number, ack.whole, len(first.acks)) for ack in first.acks] == [(3, 2, 1)]
    assert first.behind[0].state_vector == b"new"
    assert first.ByteSize() < 2 * CONTEXT_FRAME_BYTES
    rest = 0
    for _ in range(20):
        if not replies._behind:
            break
        rest += len((await replies.take()).behind)
    assert 0 < rest < 2 * CONTEXT_FRAME_ITEMS  # those beyond were dropped, and are asked for again


class Node:
    """Answers as one that holds many documents, and counts what goes over the wire."""

    def __init__(self, digests: dict[ContextId, bytes]) -> None:
        self.digests = digests
        self.size_bytes = 0

    async def __call__(self, request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
        reply = compare(self.digests, request)
        self.size_bytes += reply.ByteSize() + request.ByteSize()
        return reply


async def test_equal_nodes_compare_in_a_kilobyte_and_one_difference_costs_kilobytes() -> None:
    digests = {document(number): hashlib.sha256(b"%d" % number).digest()[:16] for number in range(20_000)}
    ours, theirs = Node(digests), Node(dict(digests))
    rng = random.Random(7)
    assert await find_differences(ours, theirs, 1000, rng) == []
    assert theirs.size_bytes < 1024  # the sums of 16 ranges, however many documents are below
    assert await root_of(ours) == await root_of(theirs)

    theirs.size_bytes = 0
    theirs.digests[D1] = bytes(16)
    found = await find_differences(ours, theirs, 1000, rng)
    assert [(one.document, one.theirs) for one in found] == [(D1, bytes(16))]
    assert theirs.size_bytes < 8 * 1024


async def test_what_one_comparison_finds_is_bounded_and_the_next_finds_others() -> None:
    theirs = Node({document(number): bytes([1]) * 16 for number in range(2000)})
    rng = random.Random(7)
    first = await find_differences(Node({}), theirs, 100, rng)
    second = await find_differences(Node({}), theirs, 100, rng)
    assert len(first) == len(second) == 100
    assert {one.document for one in first} != {one.document for one in second}
