"""Merging: what is stored, what is refused, and that nothing of what is refused is seen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pycrdt import merge_updates

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.crdt import Crdt, CrdtFailed
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id, merge_request
from tests.unit.contexts.updates.build import number

KILLER = bytes.fromhex("0103080001010161ffffffff0f08010161017e08010161017e00")


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def test_an_edit_is_there_after_a_restart(asker: Asker) -> None:
    replica = Replica()
    merged = asker.merge(replica.set("t1", "open"), cause="tool:1")
    assert merged.is_novel
    assert merged.number == 1
    assert merged.state_vector == replica.doc.get_state()
    assert (merged.edit.writer, merged.edit.clock, merged.edit.end_clock) == (FIRST, 0, 1)
    asker.reopen()
    assert asker.json() == b'{"tasks":{"t1":"open"}}'
    assert asker.describe().cursor.number == 1
    other = Replica(FIRST + 1)
    other.hear(asker.whole())
    assert other.map().to_py() == {"t1": "open"}


def test_what_an_update_says_of_what_was_known_is_not_handed_on(asker: Asker, tmp_path: Path) -> None:
    asker.merge(Replica().set("t1", "open"))
    lie = Replica().set("t1", "lie!")
    own = Replica(FIRST + 1).set("t2", "new")
    merged = asker.merge(merge_updates(lie, own), writer=FIRST + 1)
    assert merged.is_novel
    (tmp_path / "other").mkdir()
    other = Asker(tmp_path / "other")  # a node that has not heard of the first edit yet
    other.merge(merged.update, origin=worker_pb2.ORIGIN_PEER)
    assert other.json() == b'{"tasks":{"t2":"new"}}'
    other.merge(asker.whole(), origin=worker_pb2.ORIGIN_PEER)
    asker.reopen()
    assert other.json() == asker.json() == b'{"tasks":{"t1":"open","t2":"new"}}'
    other.desk.close()


def test_what_is_known_is_not_stored_again(asker: Asker) -> None:
    replica = Replica()
    update = replica.set("t1", "open")
    gone = replica.edit(lambda: replica.map().pop("t1"))
    asker.merge(update)
    asker.merge(gone)
    for known in (update, gone, replica.doc.get_update()):
        merged = asker.merge(known)
        assert not merged.is_novel
        assert merged.number == 2
    assert asker.describe().size.updates == 2


def test_what_lacks_its_predecessor_is_not_applied(asker: Asker) -> None:
    """Out of order, pycrdt diverges (crdt.md 4)."""
    replica = Replica()
    notes = replica.sequence()
    updates = [replica.edit(partial(notes.insert, 0, n)) for n in range(4)]
    merged = asker.merge(updates[0])
    for late in (updates[3], updates[2]):
        waits = asker.merge(late)
        assert waits.lacks_state_vector == merged.state_vector
        assert not waits.is_novel
    assert asker.json() == b'{"notes":[0]}'
    for update in updates[1:]:
        assert asker.merge(update).is_novel
    assert asker.json() == b'{"notes":[3,2,1,0]}'


def test_the_first_update_of_a_document_may_lack_something_too(asker: Asker) -> None:
    replica = Replica()
    replica.set("a", 1)
    assert asker.merge(replica.set("b", 2)).lacks_state_vector == b"\x00"


@pytest.mark.parametrize("update", [KILLER, b"", b"\x01", b"\xff" * 40, KILLER[:20]])
def test_what_is_malformed_is_refused_from_all(asker: Asker, update: bytes) -> None:
    for origin in (worker_pb2.ORIGIN_CLIENT, worker_pb2.ORIGIN_PEER, worker_pb2.ORIGIN_WEB, worker_pb2.ORIGIN_SEED):
        with pytest.raises(Refused, match="MALFORMED_UPDATE"):
            asker.merge(update, origin=origin)
    assert asker.describe().size.updates == 0


def test_a_client_writes_under_its_own_id_alone(asker: Asker) -> None:
    replica = Replica(FIRST + 1)
    update = replica.set("t1", 1)
    with pytest.raises(Refused, match="FOREIGN_WRITER"):
        asker.merge(update)
    assert asker.merge(update, origin=worker_pb2.ORIGIN_PEER).is_novel


def test_a_failed_apply_leaves_nothing(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """pycrdt leaves a document changed when it raises (crdt.md 2)."""
    replica = Replica()
    asker.merge(replica.set("t1", "open"))
    second, third = replica.set("t2", "bad"), replica.set("t3", "good")
    real = Crdt.apply

    def half(crdt: Crdt, update: bytes) -> bytes | None:
        deleted = real(crdt, update)
        if update == second:
            raise CrdtFailed("as pycrdt does, with the document changed")
        return deleted

    monkeypatch.setattr(Crdt, "apply", half)
    requests = [merge_request(second), worker_pb2.Request(describe=worker_pb2.Describe(id=context_id()))]
    refused, described = asker.desk.handle(requests)
    assert refused.error.reason == "MALFORMED_UPDATE"
    assert described.described.cursor.number == 1
    assert asker.json() == b'{"tasks":{"t1":"open"}}'
    assert asker.merge(third).lacks_state_vector
    asker.reopen()
    assert asker.json() == b'{"tasks":{"t1":"open"}}'


def test_a_panic_of_rust_is_an_answer(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})
    replica = Replica()
    asker.merge(replica.set("t1", 1))

    class Panics:
        def apply_update(self, update: bytes) -> None:
            raise panic("index out of bounds")

        def unobserve(self, subscription: object) -> None: ...

    loaded = asker.desk._library.peek(context_id().guid)
    assert loaded is not None
    monkeypatch.setattr(loaded.crdt, "doc", Panics())
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.merge(replica.set("t2", 2))
    assert asker.json() == b'{"tasks":{"t1":1}}'


def test_what_is_applied_in_part_is_refused(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    asker.merge(replica.set("t1", 1))
    first, second = replica.set("t2", 2), replica.set("t3", 3)
    whole = Replica(FIRST + 1)
    whole.hear(asker.whole())
    whole.hear(first)
    whole.hear(second)
    both = whole.doc.get_update(Crdt().state_vector())
    real = Crdt.apply
    monkeypatch.setattr(Crdt, "apply", lambda crdt, update: real(crdt, first))
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.merge(both)
    monkeypatch.undo()
    assert asker.json() == b'{"tasks":{"t1":1}}'
    assert asker.merge(both).is_novel


def test_another_epoch_is_a_conflict(asker: Asker) -> None:
    replica = Replica()
    asker.merge(replica.set("t1", 1), epoch=2)
    with pytest.raises(Refused, match="EPOCH_CONFLICT"):
        asker.merge(replica.set("t2", 1), epoch=1)


def test_who_made_what_of_a_diff_is_kept(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    there = Asker(tmp_path / "there")
    ada, bob = Replica(), Replica(FIRST + 1)
    there.merge(ada.set("t1", 1), actor="ada", cause="tool:1")
    there.merge(bob.set("t2", 2), actor="bob", writer=bob.writer)
    bob.hear(ada.doc.get_update())
    there.merge(bob.edit(lambda: bob.map().pop("t1")), actor="bob", writer=bob.writer)
    diff = there.ask(worker_pb2.Request(diff=worker_pb2.Diff(id=context_id(), with_edits=True))).data
    there.desk.close()
    asker.merge(diff.data, origin=worker_pb2.ORIGIN_PEER, actor="", edits=diff.edits)
    history = asker.ask(worker_pb2.Request(history=worker_pb2.History(id=context_id()))).history
    assert [(edit.actor, edit.clock, edit.end_clock, edit.cause) for edit in history.edits if edit.actor] == [
        ("ada", 0, 1, "tool:1"), ("bob", 0, 1, ""), ("bob", 1, 1, "")
    ]  # fmt: skip
    only = asker.ask(worker_pb2.Request(history=worker_pb2.History(id=context_id(), actor="ada"))).history
    assert [edit.actor for edit in only.edits] == ["ada"]
    asker.reopen()
    assert asker.json() == b'{"tasks":{"t2":2}}'


def test_the_last_answer_of_a_batch_says_what_is_deleted(asker: Asker) -> None:
    replica = Replica()
    updates = [replica.set("t1", "open"), replica.edit(lambda: replica.map().pop("t1")), replica.set("t2", "open")]
    answers = asker.desk.handle([merge_request(update) for update in updates])
    assert [bool(answer.merged.deletes_digest) for answer in answers] == [False, False, True]
    assert answers[-1].merged.deletes_digest == asker.describe().cursor.deletes_digest
    gone = replica.edit(lambda: replica.map().pop("t2"))
    assert asker.merge(gone).deletes_digest not in (b"", answers[-1].merged.deletes_digest)


def test_a_text_where_a_list_is_would_never_be_read_to_its_end_and_is_refused(asker: Asker) -> None:
    ada, bob = Replica(), Replica(FIRST + 1)
    asker.merge(ada.edit(lambda: ada.sequence("steps").append("look")))
    clash = bob.edit(lambda: bob.text("steps").insert(0, "\U0001f33f"))
    with pytest.raises(Refused, match="TYPE_CLASH"):
        asker.merge(clash, writer=FIRST + 1)
    assert asker.describe().cursor.number == 1
    asker.reopen()  # found out anew from what is stored
    with pytest.raises(Refused, match="TYPE_CLASH"):
        asker.merge(clash, writer=FIRST + 1)
    asker.merge(ada.edit(lambda: ada.sequence("steps").append("leap")))
    assert asker.json() == b'{"steps":["look","leap"]}'
    asker.merge(clash, writer=FIRST + 1, origin=worker_pb2.ORIGIN_PEER)  # another node has merged it: so must this one
    assert asker.describe().cursor.number == 3
    asker.merge(ada.set("t1", "open"))  # and goes on


def test_a_value_of_a_key_with_a_right_neighbour_frees_memory_that_is_read_and_is_refused(asker: Asker) -> None:
    ada = Replica()
    asker.merge(ada.set("k", 1))
    newer = ada.set("k", 2)
    # one struct of the writer at clock 1: content Any, with an origin and a right origin, both the value before
    other = FIRST + 1
    writer, before = number(other), number(FIRST) + b"\x00"
    hostile = b"\x01\x01" + writer + b"\x00" + b"\xc8" + before + before + b"\x01\x7d\x03" + b"\x00"
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.merge(hostile, writer=other)
    asker.merge(newer)
    assert asker.json() == b'{"tasks":{"k":2}}'
