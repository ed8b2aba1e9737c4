"""New epochs: the content stays, the past goes, and what comes late is carried over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pycrdt import Array, Map, Text

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.limits import BASE_WRITER
from tallystick_node.contexts.updates.decode import decode
from tests.unit.contexts.desk.kit import FIRST, PLAN, Asker, Refused, Replica, context_id

FRESH = FIRST + 1000


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def filled() -> Replica:
    """A document of each kind, nested ones too, with a past."""
    replica = Replica()
    tasks, notes, essay = replica.map(), replica.sequence(), replica.text()
    tasks["t1"] = {"status": "open", "tries": [1, 2.5, None, True], "raw": b"\x00\xff"}
    tasks["gone"] = 1
    del tasks["gone"]
    notes.extend([1, "two", 3])
    essay += "hé😀llo wörld"
    essay.format(0, 3, {"bold": True})
    tasks["deep"] = Map({"list": Array([1, Text("in")])})
    return replica


def rebuild(asker: Asker, epoch: int = 1) -> bytes:
    request = worker_pb2.Request(rebuild=worker_pb2.Rebuild(id=context_id(epoch=epoch)))
    return asker.rest(asker.ask(request).data)


def start(asker: Asker, base: bytes, *, epoch: int = 2, writer: int = FRESH) -> worker_pb2.Done:
    request = worker_pb2.StartEpoch(id=context_id(epoch=epoch), base=base, now_unix_ms=2000, writer=writer)
    return asker.ask(worker_pb2.Request(start_epoch=request)).done


def test_a_rebuilt_document_has_the_content_and_no_past(asker: Asker) -> None:
    asker.merge(filled().doc.get_update())
    before = asker.json()
    base = rebuild(asker)
    says = decode(base)
    assert set(says.ranges) == {BASE_WRITER}
    assert not says.deletes
    assert start(asker, base).changed
    assert asker.json(epoch=2) == before
    assert asker.describe(epoch=2).size.writers == 1
    other = Replica(FIRST + 1)
    other.hear(asker.whole(epoch=2))
    assert other.text().diff()[0] == ("hé", {"bold": True})
    assert isinstance(other.map()["deep"]["list"][1], Text)
    asker.reopen()
    assert asker.json(epoch=2) == before


def test_beginning_it_again_changes_nothing(asker: Asker) -> None:
    asker.merge(filled().doc.get_update())
    base = rebuild(asker)
    start(asker, base)
    number = asker.describe(epoch=2).cursor.number
    assert not start(asker, base, writer=FRESH + 1).changed
    assert asker.describe(epoch=2).cursor.number == number
    assert not start(asker, base, epoch=1).changed
    with pytest.raises(Refused, match="EPOCH_CONFLICT"):
        asker.describe(epoch=1)


def test_numbers_go_on(asker: Asker) -> None:
    replica = filled()
    for number in range(5):
        asker.merge(replica.doc.get_update() if not number else replica.set("n", number))
    before = asker.describe().cursor.number
    start(asker, rebuild(asker))
    assert asker.describe(epoch=2).cursor.number > before


CHANGES: dict[str, Callable[[Replica], object]] = {
    "key": lambda replica: replica.map().update({"t2": "mine", "t1": 7}),
    "delete": lambda replica: replica.map().pop("t1"),
    "list": lambda replica: replica.sequence().extend([{"a": 1}, replica.sequence().pop(0)]),
    "text": lambda replica: replica.text().insert(7, "ÄÖ"),
    "cut": lambda replica: replica.text().__delitem__(slice(1, 7)),
    "format": lambda replica: replica.text().format(7, 9, {"bold": True}),
    "nested": lambda replica: replica.map()["deep"]["list"].append(5),
    "nested text": lambda replica: replica.map()["deep"]["list"][1].insert(1, "-"),
    "new type": lambda replica: replica.map().update({"fresh": Map({"k": Array([1])})}),
    "new root": lambda replica: replica.map("other").update({"k": 1}),
    "new list": lambda replica: replica.sequence("more").extend([1, 2]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_late_edit_is_made_in_the_new_epoch(asker: Asker, name: str) -> None:
    replica = filled()
    asker.merge(replica.doc.get_update())
    start(asker, rebuild(asker))
    other = Replica(FIRST + 5)
    other.hear(asker.whole(epoch=2))
    asker.merge(other.edit(lambda: other.sequence().insert(0, "new")), writer=other.writer, epoch=2)
    late = replica.edit(lambda: CHANGES[name](replica))
    merged = asker.merge(late, epoch=2, carry_over=True)
    assert merged.is_novel
    assert set(decode(merged.update).ranges) <= {FIRST}
    expected = json.loads(asker.json(epoch=2))
    assert expected["notes"].pop(0) == "new"
    alone = Replica(FIRST + 6)
    alone.hear(replica.doc.get_update())
    want = {"tasks": alone.map().to_py(), "notes": alone.sequence().to_py(), "essay": str(alone.text())}
    for root, content in want.items():
        assert json.dumps(expected[root], sort_keys=True) == json.dumps(_plain(content), sort_keys=True)
    # Whoever holds the document merges what is handed on, and then has the same.
    other.hear(merged.update)
    assert str(other.text()) == want["essay"]
    again = asker.merge(late, epoch=2, carry_over=True)
    assert not again.is_novel


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytearray):
        return {"$bytes": "AP8="}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_late_edits_follow_each_other_also_after_a_restart(asker: Asker) -> None:
    replica = filled()
    asker.merge(replica.doc.get_update())
    start(asker, rebuild(asker))
    updates = [replica.edit(lambda: replica.sequence().insert(0, "a")) for _ in range(3)]
    assert asker.merge(updates[1], epoch=2, carry_over=True).lacks_state_vector
    for update in updates:
        asker.reopen()
        assert asker.merge(update, epoch=2, carry_over=True).is_novel
    assert json.loads(asker.json(epoch=2))["notes"] == ["a", "a", "a", 1, "two", 3]


def test_two_nodes_make_the_same_of_a_late_edit(asker: Asker, tmp_path: Path) -> None:
    """A client that was not answered sends it again, elsewhere: it is there once."""
    (tmp_path / "other").mkdir()
    there = Asker(tmp_path / "other")
    replica = filled()
    whole = replica.doc.get_update()
    asker.merge(whole)
    there.merge(whole)
    base = rebuild(asker)

    def change() -> None:
        replica.sequence().insert(1, "late")
        replica.map().update({"b": 1, "a": 2})

    late = replica.edit(change)
    updates = []
    for node in (asker, there):
        start(node, base)
        updates.append(node.merge(late, epoch=2, carry_over=True).update)
    assert not asker.merge(updates[1], epoch=2, origin=worker_pb2.ORIGIN_PEER).is_novel
    assert not there.merge(updates[0], epoch=2, origin=worker_pb2.ORIGIN_PEER).is_novel
    assert asker.json(epoch=2) == there.json(epoch=2)
    assert json.loads(asker.json(epoch=2))["notes"] == [1, "late", "two", 3]
    there.desk.close()


def test_what_a_node_had_beyond_the_seal_is_carried_over_by_itself(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    there = Asker(tmp_path / "other")
    replica = filled()
    whole = replica.doc.get_update()
    asker.merge(whole)
    there.merge(whole)
    base = rebuild(there)
    asker.merge(replica.set("t9", "only here"))
    asker.merge(replica.edit(lambda: replica.sequence().append("only here")))
    done = start(asker, base)
    assert done.merged.is_novel
    assert not done.merged.update  # there are two: who wants them asks for a diff
    content = json.loads(asker.json(epoch=2))
    assert content["tasks"]["t9"] == "only here"
    assert content["notes"] == [1, "two", 3, "only here"]
    start(there, base)
    there.merge(asker.whole(epoch=2), epoch=2, origin=worker_pb2.ORIGIN_PEER)
    assert there.json(epoch=2) == asker.json(epoch=2)
    assert there.describe(epoch=2).digest == asker.describe(epoch=2).digest
    there.desk.close()


def beyond(asker: Asker, folder: Path) -> tuple[Asker, Replica, bytes]:
    """Another node with the same document, its author, and the base of the next epoch."""
    folder.mkdir()
    there, replica = Asker(folder), filled()
    for node in (asker, there):
        node.merge(replica.doc.get_update())
    return there, replica, rebuild(there)


def test_what_several_nodes_had_beyond_the_seal_and_its_author_sends_again_is_there_once(
    asker: Asker, tmp_path: Path
) -> None:
    there, replica, base = beyond(asker, tmp_path / "other")
    late = replica.edit(lambda: replica.sequence().append("late"))
    asker.merge(late, cause="planned")
    there.merge(late, origin=worker_pb2.ORIGIN_PEER)  # pushed after the seal
    made = [start(node, base, writer=FRESH + number).merged for number, node in enumerate((asker, there))]
    assert {frozenset(decode(merged.update).ranges) for merged in made} == {frozenset({FIRST})}
    assert (made[0].edit.actor, made[0].edit.cause, made[0].edit.writer) == ("ada", "planned", FIRST)
    assert not there.merge(made[0].update, epoch=2, origin=worker_pb2.ORIGIN_PEER).is_novel
    for node in (asker, there):
        assert not node.merge(late, epoch=2, carry_over=True).is_novel
        assert json.loads(node.json(epoch=2))["notes"] == [1, "two", 3, "late"]
    assert there.describe(epoch=2).digest == asker.describe(epoch=2).digest
    there.desk.close()


def test_a_deletion_beyond_the_seal_is_carried_over(asker: Asker, tmp_path: Path) -> None:
    there, replica, base = beyond(asker, tmp_path / "other")
    asker.merge(replica.edit(lambda: replica.map().pop("t1")))
    made = start(asker, base).merged
    assert "t1" not in json.loads(asker.json(epoch=2))["tasks"]
    assert asker.merge(replica.set("t2", 1), epoch=2, carry_over=True).is_novel  # it still knows what was sealed
    start(there, base)
    assert "t1" in json.loads(there.json(epoch=2))["tasks"]
    there.merge(made.update, epoch=2, origin=worker_pb2.ORIGIN_PEER)
    assert "t1" not in json.loads(there.json(epoch=2))["tasks"]
    there.desk.close()


def test_a_deletion_that_a_node_lacked_is_not_undone(asker: Asker, tmp_path: Path) -> None:
    there, replica, _ = beyond(asker, tmp_path / "other")
    there.merge(replica.edit(lambda: replica.map().pop("t1")))
    base = rebuild(there)
    assert not start(asker, base).merged.is_novel
    start(there, base)
    assert asker.json(epoch=2) == there.json(epoch=2)
    with pytest.raises(Refused, match="BEHIND"):  # what late edits build on is not quite what it had
        asker.merge(replica.set("t2", 1), epoch=2, carry_over=True)
    there.desk.close()


def test_what_builds_on_others_beyond_the_seal_goes_under_a_fresh_writer(asker: Asker, tmp_path: Path) -> None:
    there, replica, base = beyond(asker, tmp_path / "other")
    other = Replica(FIRST + 1)
    asker.merge(replica.edit(lambda: replica.sequence().append("a")))
    other.hear(asker.whole())
    asker.merge(other.edit(lambda: other.sequence().append("b")), writer=FIRST + 1)
    asker.merge(replica.edit(lambda: replica.sequence().insert(0, "c")))
    assert start(asker, base).merged.is_novel
    assert json.loads(asker.json(epoch=2))["notes"] == ["c", 1, "two", 3, "a", "b"]
    assert set(decode(asker.whole(epoch=2)).ranges) == {BASE_WRITER, FIRST, FRESH}
    there.desk.close()


def test_a_node_that_had_less_carries_nothing_over(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    there = Asker(tmp_path / "other")
    replica = filled()
    asker.merge(replica.doc.get_update())
    there.merge(replica.doc.get_update())
    there.merge(replica.edit(lambda: replica.sequence().append("more")))
    start(asker, rebuild(there))
    assert json.loads(asker.json(epoch=2))["notes"] == [1, "two", 3, "more"]
    late = replica.set("late", 1)
    with pytest.raises(Refused, match="BEHIND"):
        asker.merge(late, epoch=2, carry_over=True)
    there.desk.close()


def test_a_document_that_is_not_here_begins_with_its_base(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    there = Asker(tmp_path / "other")
    there.merge(filled().doc.get_update())
    base = rebuild(there)
    assert start(asker, base, epoch=4).changed
    assert asker.json(epoch=4) == there.json()
    assert asker.describe(PLAN, 4).cursor.epoch == 4
    there.desk.close()


def test_a_node_that_missed_an_epoch_carries_nothing_over(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    there = Asker(tmp_path / "there")
    replica = Replica()
    update = replica.set("t1", "gone since")
    asker.merge(update)
    there.merge(update)
    start(there, rebuild(there))
    later = Replica(FIRST + 1)
    later.hear(there.whole(epoch=2))
    there.merge(later.edit(lambda: later.map().pop("t1")), writer=FIRST + 1, epoch=2)
    there.merge(later.set("t2", "open"), writer=FIRST + 1, epoch=2)
    assert not start(asker, rebuild(there, epoch=2), epoch=3).merged.update
    assert asker.json(epoch=3) == there.json(epoch=2) == b'{"tasks":{"t2":"open"}}'
    there.desk.close()
