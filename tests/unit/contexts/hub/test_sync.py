"""A Sync stream on documents in memory: what a client sends and is told, and what it is refused."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.errors import Conflict, Invalid, NotFound, QuotaExceeded, Reason, Unavailable
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.context_store.merged import connections, editing, limits
from tallystick_node.contexts.ids import ContextId
from tallystick_node.core.outcomes import ContextChange
from tests.unit.contexts.hub.kit import (
    DOCUMENT,
    GUID,
    WORKER_DOWN,
    WRITER,
    Replica,
    Stage,
    Stream,
    record,
    stage,
)

LOCAL, QUORUM = context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM
KILLER = bytes.fromhex("0103080001010161ffffffff0f08010161017e08010161017e00")
"""26 bytes that end a process which applies them (a deletion of length 2^32-1)."""


def _held() -> bytes:
    replica = Replica()
    replica.set("k", 1)
    return replica.state_vector


HELD = _held()
"""What a replica holds that has set one key."""


async def test_an_edit_is_acknowledged_and_seen_by_another() -> None:
    async with stage() as on, Stream(on) as ann, Stream(on, incarnation=b"o" * 16) as other:
        mine, theirs = Replica(), Replica(WRITER + 1)
        await other.until("part")
        number = ann.send(mine.set("k", 1))
        ack = await ann.until_acked(number, LOCAL)
        assert (ack.cursor.number, ack.cursor.node_id, ack.cursor.state_vector) == (1, "a", mine.state_vector)
        assert (await ann.until_acked(number, QUORUM)).cursor.number == 1
        pushed = (await other.until("pushed")).pushed
        theirs.apply(pushed.update)
        assert theirs.content() == {"k": 1}
        assert pushed.edit.actor == "ann"
        assert not [response for response in ann.seen if response.WhichOneof("body") == "pushed"]


async def test_a_replica_that_comes_back_is_sent_what_it_lacks_in_parts() -> None:
    async with stage() as on:
        on.port.part_bytes = 10
        mine, theirs = Replica(), Replica(WRITER + 1)
        async with Stream(on) as ann:
            theirs_before = mine.set("old", 0)
            theirs.apply(theirs_before)
            ann.send(theirs_before)
            await ann.until_acked(ann.send(mine.set("new", "n" * 50)))
        async with Stream(on, state_vector=theirs.state_vector, incarnation=b"o" * 16) as back:
            data = b""
            while not (part := (await back.until("part")).part).is_last:
                assert not part.HasField("cursor")
                data += part.data
            theirs.apply(data + part.data)
            assert theirs.content() == mine.content()
            assert part.cursor.number == 2


async def test_acks_are_cumulative_and_many_updates_are_merged_together() -> None:
    async with stage() as on, Stream(on) as ann:
        mine = Replica()
        numbers = [ann.send(mine.set(f"k{n}", n)) for n in range(600)]
        ack = await ann.until_acked(numbers[-1])
        assert on.port.content() == mine.content()
        assert ack.cursor.number == 600
        acks = [response for response in ann.seen if response.WhichOneof("body") == "ack"]
        assert len(acks) < 60


async def test_a_refusal_is_one_updates_affair_and_of_what_follows_on_it() -> None:
    async with stage() as on, Stream(on) as ann:
        mine, spare = Replica(), Replica(WRITER + 1)
        first, refused = mine.set("a", 1), mine.set("b", "x" * (1 << 20))
        ann.send(first)
        ann.send(refused)
        ann.send(mine.set("c", 1))
        last = ann.send(spare.set("d", 1), writer=WRITER + 1)
        await ann.until_acked(last)
        refusals = {
            response.refused.number: response.refused.error.reason
            for response in ann.seen
            if response.WhichOneof("body") == "refused"
        }
        assert refusals == {2: Reason.TOO_LARGE, 3: Reason.TOO_LARGE}
        assert on.port.content() == {"a": 1, "d": 1}


async def test_what_follows_the_first_update_of_a_writer_is_refused_with_it_too() -> None:
    async with stage() as on, Stream(on) as ann:
        mine = Replica()
        ann.send(mine.set("a", "x" * (1 << 20)))
        ann.send(mine.set("b", 1))
        for number in (1, 2):
            refused = (await ann.until("refused")).refused
            assert (refused.number, refused.error.reason) == (number, Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("update", "writer", "reason"),
    [
        (KILLER, WRITER, Reason.MALFORMED_UPDATE),
        (b"", WRITER, Reason.MALFORMED_UPDATE),
        (Replica(WRITER + 2).set("k", 1), WRITER, Reason.FOREIGN_WRITER),
        (Replica(WRITER + 5000).set("k", 1), WRITER + 5000, Reason.FOREIGN_WRITER),
        (Replica(5).set("k", 1), 5, Reason.FOREIGN_WRITER),
    ],
    ids=["the 26 bytes", "nothing", "another's id in it", "an id of bob's", "an id that was never given"],
)
async def test_what_is_not_to_be_believed_is_refused_and_changes_nothing(
    update: bytes, writer: int, reason: Reason
) -> None:
    async with stage() as on, Stream(on) as ann:
        ann.send(update, writer=writer)
        refused = (await ann.until("refused")).refused
        assert (refused.number, refused.error.reason) == (1, reason)
        await ann.until_acked(ann.send(Replica().set("k", 1)))
        assert on.port.content() == {"k": 1}


async def test_a_writer_of_a_live_replica_is_not_anothers() -> None:
    async with stage() as on, Stream(on) as ann, Stream(on, incarnation=b"o" * 16) as other:
        mine = Replica()
        await ann.until_acked(ann.send(mine.set("k", 1)))
        other.send(Replica().set("k", 2))
        assert (await other.until("refused")).refused.error.reason == Reason.WRITER_IN_USE


async def test_the_same_incarnation_takes_over_and_the_old_stream_ends() -> None:
    async with stage() as on, Stream(on) as old:
        mine = Replica()
        await old.until_acked(old.send(mine.set("k", 1)))
        async with Stream(on) as new:
            await new.until_acked(new.send(mine.set("k", 2)))
            with pytest.raises(Conflict) as raised:
                await old.until("moved")
            assert raised.value.reason is Reason.WRITER_IN_USE
            await new.until_acked(new.send(mine.set("k", 3)))


async def test_a_worker_that_dies_under_edits_costs_time_alone() -> None:
    async with stage() as on, Stream(on) as ann, Stream(on, incarnation=b"o" * 16) as other:
        mine, theirs = Replica(), Replica(WRITER + 1)
        on.port.lose = 3
        number = [ann.send(mine.set(f"k{n}", n)) for n in range(10)][-1]
        await ann.until_acked(number)
        assert on.port.content() == mine.content()
        while theirs.content() != mine.content():
            response = await other.next()
            if response.WhichOneof("body") == "part":
                assert response.part.is_last
                theirs.apply(response.part.data)
            elif response.WhichOneof("body") == "pushed":
                theirs.apply(response.pushed.update)


async def test_a_worker_that_stays_down_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "RETRY_S", 0.0)
    async with stage() as on, Stream(on) as ann:
        await ann.until("part")
        on.port.error = WORKER_DOWN
        ann.send(Replica().set("k", 1))
        with pytest.raises(Unavailable) as raised:
            await ann.until("ack")
        assert raised.value.reason is Reason.WORKER_DOWN


async def test_an_update_waits_for_what_it_builds_on() -> None:
    async with stage() as on, Stream(on) as ann:
        mine, theirs = Replica(), Replica(WRITER + 1)
        other = theirs.set("k", 1)
        mine.apply(other)
        number = ann.send(mine.set("k", 2))  # refers to an item that is not here yet
        async with Stream(on, incarnation=b"o" * 16) as late:
            late.send(other, writer=WRITER + 1)
            await ann.until_acked(number)
        assert on.port.content() == {"k": 2}


async def test_an_update_whose_ground_never_comes_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "RETRY_S", 0.0)
    async with stage() as on, Stream(on) as ann:
        mine = Replica()
        mine.apply(Replica(WRITER + 1).set("k", 1))
        ann.send(mine.set("k", 2))
        with pytest.raises(Unavailable) as raised:
            await ann.until("ack")
        assert raised.value.reason is Reason.BEHIND


async def test_edits_wait_under_a_seal_and_go_on_after_it() -> None:
    async with stage() as on, Stream(on) as ann:
        mine = Replica()
        on.decided.decide(ContextChange.SEALED, record(seal=5))
        number = ann.send(mine.set("k", 1))
        await on.hub.ask(GUID, _describe())  # the worker has answered what came before: nothing was merged
        assert on.port.count("merge") == 0
        on.decided.decide(ContextChange.UNSEALED, record())
        await ann.until_acked(number)


async def test_a_seal_that_stays_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "SEALED_S", 0.0)
    async with stage() as on, Stream(on) as ann:
        on.decided.decide(ContextChange.SEALED, record(seal=5))
        ann.send(Replica().set("k", 1))
        with pytest.raises(Unavailable) as raised:
            await ann.until("ack")
        assert raised.value.reason is Reason.CONTEXT_SEALED


async def test_a_new_epoch_is_told_and_edits_of_the_old_one_are_carried_over() -> None:
    async with stage(("a", "b", "c")) as on, Stream(on) as ann:
        mine = Replica()
        first = ann.send(mine.set("k", 1))
        await ann.until_acked(first)
        base = Replica(1).set("k", 1)
        on.decided.decide(ContextChange.EPOCH_STARTED, record(epoch=2), base=base)
        moved = (await ann.until("moved")).moved
        assert moved.info.epoch == 2
        await ann.until_acked(first, QUORUM)  # the base, which holds it, was decided
        await ann.until_acked(ann.send(Replica(WRITER + 1).set("late", 1), writer=WRITER + 1, epoch=1))
        merge = on.port.asked[-1].merge
        assert (merge.carry_over, merge.id.epoch) == (True, 2)


async def test_an_epoch_that_begins_while_a_stream_is_opened_is_the_streams() -> None:
    async with stage() as on:
        on.port.hold = asyncio.Event()
        opening = asyncio.create_task(Stream(on).next())
        await on.port.was_asked.wait()
        on.decided.decide(ContextChange.EPOCH_STARTED, record(epoch=2), base=Replica(1).set("k", 1))
        on.port.hold.set()
        opened = (await opening).opened
        assert (opened.info.epoch, opened.cursor.epoch) == (2, 2)


async def test_a_worker_that_does_not_hear_of_decisions_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tallystick_node.contexts.hub.hub.SETTLE_S", 0.01)
    async with stage() as on:
        on.port.error = WORKER_DOWN
        on.hub.created(DOCUMENT, Replica(1).set("k", 1))
        with pytest.raises(Unavailable) as raised:
            await on.hub.ask(GUID, _describe())
        assert raised.value.reason is Reason.WORKER_DOWN


async def test_who_opens_in_an_older_epoch_is_told_at_once_and_sent_nothing_else() -> None:
    async with stage() as on:
        on.decided.records[GUID] = record(epoch=3)
        async with Stream(on, guid=GUID, epoch=2, state_vector=b"\x01\x01\x01") as old:
            assert (await old.next()).WhichOneof("body") == "moved"
            old.send(Replica().set("k", 1), epoch=1)
            assert (await old.until("refused")).refused.error.reason == Reason.EPOCH_CONFLICT  # too far back
            old.end()
            assert [response.WhichOneof("body") async for response in old._responses] == []


async def test_a_context_that_is_deleted_ends_its_streams() -> None:
    async with stage() as on, Stream(on) as ann:
        on.decided.decide(ContextChange.DELETED, None)
        with pytest.raises(NotFound):
            await ann.until("moved")
        assert on.port.count("forget") == 1 or not on.hub.chores.is_settled(GUID)


async def test_who_asks_anew_is_sent_what_it_lacks() -> None:
    async with stage() as on, Stream(on) as ann:
        mine = Replica()
        await ann.until_acked(ann.send(mine.set("k", 1)))
        ann.resync(b"")
        empty = Replica(WRITER + 1)
        empty.apply((await ann.until("part")).part.data)
        assert empty.content() == {"k": 1}


async def test_a_slow_reader_is_sent_a_diff_in_place_of_what_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.contexts.hub.subscriptions.SUBSCRIBER_BYTES", 2000)
    async with stage() as on, Stream(on) as ann, Stream(on, incarnation=b"o" * 16) as slow:
        mine, theirs = Replica(), Replica(WRITER + 1)
        assert (await slow.until("part")).part.is_last
        await ann.until_acked([ann.send(mine.set(f"k{n}", "x" * 100)) for n in range(30)][-1])
        theirs.apply((await slow.until("part")).part.data)
        assert theirs.content() == mine.content()
        await ann.until_acked(ann.send(mine.set("end", 1)))
        theirs.apply((await slow.until("pushed")).pushed.update)
        assert theirs.content() == mine.content()


async def test_a_quorum_waits_for_the_other_nodes() -> None:
    async with stage(("a", "b", "c")) as on, Stream(on) as ann:
        mine = Replica()
        for n in range(3):
            await ann.until_acked(ann.send(mine.set("k", n)))
        on.hub.note_ack("b", DOCUMENT, 2, whole=0)
        assert (await ann.until_acked(1, QUORUM)).number == 2
        on.hub.note_ack("c", DOCUMENT, 3, whole=0)
        assert (await ann.until_acked(3, QUORUM)).number == 3


async def test_the_acks_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.context_store.merged.quorum.WAITING_ACKS", 2)
    async with stage(("a", "b", "c")) as on, Stream(on) as ann:
        mine = Replica()
        for n in range(5):
            await ann.until_acked(ann.send(mine.set("k", n)))
        on.hub.note_ack("b", DOCUMENT, 4, whole=0)
        assert (await ann.until_acked(1, QUORUM)).number == 1  # 2 to 5 are acknowledged together
        on.hub.note_ack("b", DOCUMENT, 5, whole=0)
        assert (await ann.until_acked(5, QUORUM)).number == 5


@pytest.mark.parametrize(
    ("cursor", "is_covered"),
    [
        (context_pb2.Cursor(node_id="a", number=1), True),
        (context_pb2.Cursor(node_id="a", number=2), False),
        (context_pb2.Cursor(node_id="a", number=1, log=b"before"), False),
        (context_pb2.Cursor(node_id="a", number=1, log=b"before", state_vector=HELD), False),
        (context_pb2.Cursor(node_id="a", number=1, state_vector=b"\x01\x07\x01"), False),
        (context_pb2.Cursor(node_id="b", number=1), False),
        (context_pb2.Cursor(node_id="b", number=9, state_vector=Replica().state_vector), False),
        (context_pb2.Cursor(state_vector=HELD), True),
        (context_pb2.Cursor(state_vector=b"\x01\x07\x01"), False),
        (context_pb2.Cursor(node_id="b", number=9, deletes_digest=b"d" * 16), False),
    ],
    ids=[
        "own number",
        "own number to come",
        "own number of a log of another name",
        "own number of a log of another name with a state vector",
        "own number of before its disk was put back",
        "unknown log",
        "unknown log with a state vector",
        "state vector",
        "unknown writer",
        "other deletions",
    ],
)
async def test_a_stream_that_names_a_cursor_begins_when_that_is_here(
    cursor: context_pb2.Cursor, *, is_covered: bool
) -> None:
    async with stage() as on:
        async with Stream(on) as ann:
            await ann.until_acked(ann.send(Replica().set("k", 1)))
        stream = Stream(on, after=cursor, timeout_s=20 if is_covered else 0.01)
        if is_covered:
            async with stream:
                return
        with pytest.raises(Unavailable) as raised:
            await stream.next()
        assert raised.value.reason is Reason.BEHIND


async def test_a_cursor_is_waited_for() -> None:
    async with stage() as on, Stream(on) as ann:
        waiting = asyncio.create_task(Stream(on, after=context_pb2.Cursor(node_id="a", number=1)).next())
        await ann.until_acked(ann.send(Replica().set("k", 1)))
        assert (await waiting).opened.cursor.number == 1


async def test_a_seed_that_the_worker_has_not_heard_of_is_told_first() -> None:
    async with stage() as on:
        on.decided.bases[GUID] = Replica(1).set("seed", 1)
        stream = Stream(on)
        assert (await stream.next()).opened.cursor.number == 1
        await stream._responses.aclose()


async def test_streams_of_a_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTION_DOCUMENTS", 1)
    async with stage() as on:
        async with Stream(on):
            with pytest.raises(QuotaExceeded) as raised:
                await Stream(on).next()
            assert raised.value.reason is Reason.CONNECTION_QUOTA
            async with Stream(on, peer="another"):
                pass
        async with Stream(on):
            pass


async def test_a_replica_of_another_document_of_that_name_is_told_so() -> None:
    async with stage() as on:
        with pytest.raises(NotFound):
            await Stream(on, guid=b"o" * 16, epoch=1).next()


async def test_numbers_that_do_not_rise_end_the_stream() -> None:
    async with stage() as on, Stream(on) as ann:
        ann.send(Replica().set("k", 1))
        ann._number = 0
        ann.send(Replica().set("k", 1))
        with pytest.raises(Invalid):
            await ann.until("moved")


async def test_a_client_that_has_said_all_gets_its_acks_before_the_end() -> None:
    async with stage() as on, Stream(on) as ann:
        ann.send(Replica().set("k", 1))
        ann.end()
        bodies = [response.WhichOneof("body") async for response in ann._responses]
        assert bodies[-1] == "ack"
    assert len(on.hub.audience) == 0


async def test_the_window_holds_back_a_client_that_sends_faster_than_is_merged() -> None:
    async with stage() as on, Stream(on) as ann:
        on.port.hold = asyncio.Event()
        mine = Replica()
        updates = [mine.set("k", n) for n in range(4 * limits.WINDOW_UPDATES)]
        for update in updates:
            ann.send(update)
        on.port.was_asked.clear()
        await on.port.was_asked.wait()
        for _ in range(1000):
            await asyncio.sleep(0)
        read = len(updates) - ann._requests.qsize()
        assert read <= 2 * limits.WINDOW_UPDATES + 1
        on.port.hold.set()
        await ann.until_acked(len(updates))


async def test_the_look_forgets_what_has_ended_and_not_what_is_not_known_yet() -> None:
    on = Stage()
    gone, behind, unknown = b"g" * 16, b"h" * 16, b"u" * 16
    on.decided.gone.add(gone)
    for guid in (gone, behind, unknown, GUID):
        await on.hub.ask(guid, _describe(guid))
    on.decided.records[behind] = record(behind, "other", epoch=2)
    on.decided.bases[behind] = Replica(1).set("k", 1)
    await on.merged.following.look()
    for guid in (gone, behind):
        await on.hub.chores.settled(guid)
    assert sorted(on.port.documents) == sorted([behind, unknown, GUID])
    assert on.port.documents[behind].epoch == 2
    await on.hub.close()


async def test_an_epoch_that_is_over_is_not_begun_with_the_content_of_the_next() -> None:
    """A record and its base are read one after the other: the log may have gone on between the two."""
    on = Stage()
    first = record()
    on.decided.records[GUID] = record(epoch=2)
    on.decided.bases[GUID] = Replica(1).set("k", 1)
    on.merged.following.begin(first)
    await on.hub.chores.settled(GUID)
    assert not on.port.documents
    on.merged.following.begin(on.decided.records[GUID])
    await on.hub.chores.settled(GUID)
    assert on.port.documents[GUID].epoch == 2
    await on.hub.close()


def _describe(guid: bytes = GUID) -> worker_pb2.Request:
    return worker_pb2.Request(describe=worker_pb2.Describe(id=ContextId(guid, 1).to_proto()))


async def test_who_takes_the_whole_document_is_not_sent_its_history_too() -> None:
    async with stage() as made:
        ann = Replica()
        async with Stream(made) as stream:
            await stream.until_acked(stream.send(ann.set("k", 1)))
        async with Stream(made) as whole:
            await whole.until("part")
        async with Stream(made, state_vector=ann.state_vector) as rest:
            await rest.until("part")
    *_, whole_diff, rest_diff = [each.diff for each in made.port.asked if each.WhichOneof("body") == "diff"]
    assert (whole_diff.state_vector, whole_diff.with_edits) == (b"", False)
    assert (rest_diff.state_vector, rest_diff.with_edits) == (ann.state_vector, True)
