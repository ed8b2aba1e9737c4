"""One replica by itself: transactions, undo, changes, another document in its place."""

from __future__ import annotations

import pycrdt
import pytest

from tallystick.contexts.changes import Change, ChangeKind
from tallystick.contexts.rebase import remade
from tallystick.contexts.replica import Made, Replica
from tallystick.contexts.rows import Row
from tallystick.contexts.views import Views
from tallystick.errors import Corrupt, Invalid, Reason, Unavailable

WRITER = 2**40


class Desk:
    """A replica, what it made, and its views."""

    actor = "me"
    schema = None

    def __init__(self, writer: int = WRITER) -> None:
        self.made: list[Made] = []
        self.replica = Replica(self.made.append, lambda: None, lambda: 0)
        self.replica.replace(writer, [])
        self.views = Views(self)
        self.transaction = self.replica.transaction

    @property
    def doc(self) -> pycrdt.Doc:  # type: ignore[type-arg]
        return self.replica.doc

    @property
    def writer(self) -> int:
        return self.replica.writer

    def unix_ms(self) -> int:
        return 0


def row_of(made: Made) -> Row:
    """As a store keeps it."""
    return Row(id=1, update=made.update, is_local=True, writer=made.writer, epoch=1, time_unix_ms=0)


def merged(*desks: Desk) -> Desk:
    """Somebody who has heard all that these made."""
    other = Desk(WRITER + 1000)
    for desk in desks:
        for made in desk.made:
            other.replica.apply(made.update)
    return other


def test_a_transaction_is_one_update_of_the_writer() -> None:
    desk = Desk()
    with desk.transaction("why"):
        desk.views.map("m")["a"] = 1
        with desk.transaction("inner"):
            desk.views.list("l").append(2)
    (made,) = desk.made
    assert (made.writer, made.cause) == (WRITER, "why")
    assert merged(desk).views.to_json() == {"m": {"a": 1}, "l": [2]}


def test_a_transaction_that_raises_is_undone_for_all() -> None:
    desk = Desk()
    desk.views.map("m")["a"] = 1
    desk.views.text("t").append("héllo")

    def fails() -> None:
        with desk.transaction():
            desk.views.map("m")["a"] = 2
            desk.views.text("t").insert(1, "XX")
            desk.views.list("new").append(3)
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is ours
        fails()
    wanted = {"m": {"a": 1}, "t": "héllo"}
    shown = desk.views.to_json()
    assert {name: shown[name] for name in wanted} == wanted
    assert not shown.get("new")
    assert len(desk.made) == 3
    shown = merged(desk).views.to_json()
    assert {name: shown[name] for name in wanted} == wanted
    assert not shown.get("new")


def test_a_first_transaction_that_raises_is_undone() -> None:
    desk = Desk()
    with pytest.raises(OSError), desk.transaction():  # noqa: PT011, PT012 - it is ours
        desk.views.list("new").extend([1, 2, 3])
        raise OSError
    assert not desk.views.to_json().get("new")
    assert not merged(desk).views.to_json().get("new")


def test_undo_takes_back_what_this_author_did_step_by_step() -> None:
    desk, other = Desk(), Desk(WRITER + 1)
    desk.views.map("m")["mine"] = 1
    other.replica.apply(desk.made[0].update)
    other.views.map("m")["theirs"] = 2
    desk.replica.apply(other.made[0].update)
    desk.views.map("m")["mine"] = 3
    assert desk.replica.undo()
    assert desk.views.map("m").to_dict() == {"mine": 1, "theirs": 2}
    assert desk.replica.redo()
    assert desk.views.map("m").to_dict() == {"mine": 3, "theirs": 2}
    assert desk.replica.undo()
    assert desk.replica.undo()
    assert desk.views.map("m").to_dict() == {"theirs": 2}
    assert not desk.replica.undo()
    assert merged(desk, other).views.map("m").to_dict() == {"theirs": 2}


def test_many_steps_are_forgotten_but_not_the_last() -> None:
    desk = Desk()
    for number in range(1000):
        desk.views.map("m")["n"] = number
    for number in range(100):
        assert desk.replica.undo()
        assert desk.views.map("m")["n"] == 998 - number
    assert len(desk.replica._undo._manager.undo_stack) < 500


def test_changes_have_paths_kinds_and_values() -> None:
    desk, other = Desk(), Desk(WRITER + 1)
    other.replica.watch()
    desk.views.map("m")["a/b"] = {"x": 1}
    desk.views.map("m")["a/b"] = 2
    del desk.views.map("m")["a/b"]
    desk.views.text("t").append("hé")
    desk.views.text("t").insert(2, "llo")
    desk.views.text("t").delete(0, 1)
    desk.views.list("l").extend([1, 2])
    del desk.views.list("l")[0]
    changes = [change for made in desk.made for change in other.replica.apply(made.update)]
    assert changes == [
        Change("/m/a~1b", ChangeKind.SET, new={"x": 1}),
        Change("/m/a~1b", ChangeKind.SET, old={"x": 1}, new=2),
        Change("/m/a~1b", ChangeKind.DELETE, old=2),
        Change("/t/0", ChangeKind.INSERT, new="hé", count=2),
        Change("/t/2", ChangeKind.INSERT, new="llo", count=3),
        Change("/t/0", ChangeKind.REMOVE),
        Change("/l/0", ChangeKind.INSERT, new=[1, 2], count=2),
        Change("/l/0", ChangeKind.REMOVE),
    ]


def test_own_edits_tell_their_changes_too() -> None:
    desk = Desk()
    desk.replica.watch()
    desk.views.map("m")["a"] = 1
    assert desk.made[0].changes == (Change("/m/a", ChangeKind.SET, new=1),)


def test_an_update_that_pycrdt_cannot_take_asks_for_another_document() -> None:
    desk = Desk()
    desk.views.map("m")["a"] = 1
    with pytest.raises(Corrupt):
        desk.replica.apply(b"\x01\x02\x03")
    with pytest.raises(Corrupt):
        desk.views.map("m")["b"] = 2
    desk.replica.replace(WRITER + 5, [desk.made[0].update])
    desk.views.map("m")["b"] = 2
    assert desk.views.map("m").to_dict() == {"a": 1, "b": 2}
    assert desk.made[-1].writer == WRITER + 5


def test_a_root_that_was_a_list_and_holds_text_is_not_read_as_one() -> None:
    desk, other = Desk(WRITER + 1), Desk()
    desk.replica.watch()
    desk.views.list("root").append(1)
    before = desk.doc.get_update()
    desk.views.list("root").append(2)
    other.views.text("root").append("poke")
    (edit,) = remade(before, [row_of(desk.made[-1])], desk.replica.doc.typed)
    desk.replica.apply(other.made[-1].update)
    assert desk.replica.to_json() == {"root": "poke"}
    with pytest.raises(Invalid) as refused, desk.transaction():
        edit.make(desk.replica.doc)
    assert refused.value.reason is Reason.TYPE_CLASH


def test_without_a_writer_nothing_can_be_edited() -> None:
    desk = Desk()
    desk.replica.replace(None, [])
    with pytest.raises(Unavailable, match="writer"):
        desk.views.map("m")["a"] = 1
    assert desk.made == []


def test_another_document_in_place_tells_what_changed_by_it() -> None:
    desk, other = Desk(), Desk(WRITER + 1)
    desk.views.map("m")["a"] = 1
    desk.views.map("m")["b"] = 2
    desk.replica.watch()
    other.views.map("m")["b"] = 3
    changes = desk.replica.replace(WRITER + 2, [made.update for made in other.made])
    assert sorted(changes, key=lambda change: change.path) == [
        Change("/m/a", ChangeKind.DELETE, old=1),
        Change("/m/b", ChangeKind.SET, old=2, new=3),
    ]
