"""Where ids stand, and what may not stand there: what the fuzzer found."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map, UndoManager

from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.ids import Id
from tallystick_node.contexts.updates.places import Place, Places, Shape

from .build import item, string, update

TEXT = (4, string("é"))
LONG = (4, string("éé"))
ARRAY, MAP, RICH_TEXT, XML = b"\0", b"\1", b"\2", b"\4"


class Document:
    """The places of a document, told of one update after the other."""

    def __init__(self) -> None:
        self.places = Places()
        self.known: dict[int, int] = {}

    def add(self, data: bytes, *, may_clash: bool = False) -> None:
        admitted = admit(data, self.known, origin=Origin.PEER, with_structs=True)
        assert not admitted.lacks
        self.places.add(admitted.update, self.known, may_clash=may_clash)
        self.known = admitted.after

    def refusal(self, data: bytes) -> Reason:
        before = self.places.roots, self.places.clashes
        with pytest.raises(Invalid) as caught:
            self.add(data)
        assert (self.places.roots, self.places.clashes) == before
        return caught.value.reason


def with_type(kind: bytes) -> Document:
    document = Document()
    document.add(update({5: (0, [item(7, kind, parent="m", key="k")])}))
    return document


def test_an_item_stands_where_its_neighbour_does() -> None:
    document = Document()
    document.add(update({5: (0, [item(parent="l"), item(origin=(5, 0)), item(parent="m", key="k")])}))
    document.add(update({9: (0, [item(right_origin=(5, 1)), item(origin=(5, 2))])}))
    assert [document.places.of(Id(9, clock)) for clock in (0, 1)] == [Place("l", None), Place("m", "k")]
    assert document.places.of(Id(9, 7)) == Place("m", "k")
    assert document.places.of(Id(8, 0)) is None


@pytest.mark.parametrize("content", [TEXT, (5, string("1")), (6, string("b") + string("1"))])
def test_a_list_holds_no_text(content: tuple[int, bytes]) -> None:
    document = with_type(ARRAY)
    assert document.refusal(update({9: (0, [item(*content, parent=(5, 0))])})) is Reason.MALFORMED_UPDATE
    document.add(update({9: (0, [item(parent=(5, 0))])}))
    assert document.refusal(update({9: (1, [item(*content, origin=(9, 0))])})) is Reason.MALFORMED_UPDATE


@pytest.mark.parametrize("kind", [MAP, RICH_TEXT, XML])
def test_values_stand_in_lists_alone(kind: bytes) -> None:
    assert with_type(kind).refusal(update({9: (0, [item(parent=(5, 0))])})) is Reason.MALFORMED_UPDATE


def test_a_key_holds_no_piece_of_text() -> None:
    assert Document().refusal(update({9: (0, [item(*TEXT, parent="m", key="k")])})) is Reason.MALFORMED_UPDATE


def test_a_value_of_a_key_has_no_right_neighbour() -> None:
    """The fuzzer's first SIGSEGV: pycrdt read a value that it had freed."""
    document = Document()
    document.add(update({5: (0, [item(parent="m", key="k")])}))
    assert document.refusal(update({5: (1, [item(right_origin=(5, 0))])})) is Reason.MALFORMED_UPDATE
    document.add(update({5: (1, [item(origin=(5, 0))])}))


def test_of_several_values_of_a_key_all_but_the_last_are_deleted() -> None:
    """The fuzzer's second SIGSEGV: values that were deleted in part, then the map around them."""
    values = update({5: (0, [item(8, bytes([3, 120, 120, 120]), parent="m", key="k")])})[:-1]
    for deleted in (b"\0", b"\1\5\1\0\1", b"\1\5\1\1\2", b"\1\5\1\2\1"):
        assert Document().refusal(values + deleted) is Reason.MALFORMED_UPDATE
    for deleted in (b"\1\5\1\0\2", b"\1\5\1\0\3"):
        Document().add(values + deleted)


def test_what_an_undo_manager_keeps_is_taken() -> None:
    doc: Doc[Map[str]] = Doc(client_id=5)
    made = doc.get("m", type=Map)
    undo = UndoManager(scopes=[made])
    for value in "abcd":
        made["k"] = value
    Document().add(doc.get_update())
    undo.undo()
    Document().add(doc.get_update())
    undo.redo()
    made["k"] = "e"
    Document().add(doc.get_update())


def test_an_item_stands_in_one_place() -> None:
    document = Document()
    document.add(update({5: (0, [item(parent="a"), item(parent="b")])}))
    between = update({9: (0, [item(origin=(5, 0), right_origin=(5, 1))])})
    assert document.refusal(between) is Reason.MALFORMED_UPDATE


def test_a_root_that_is_a_list_to_one_and_a_text_to_another_is_refused_to_clients_and_taken_from_peers() -> None:
    document = Document()
    document.add(update({5: (0, [item(parent="r")])}))
    clash = update({9: (0, [item(*TEXT, parent="r")])})
    assert document.refusal(clash) is Reason.TYPE_CLASH
    document.add(clash, may_clash=True)
    assert document.places.clashes == {"r"}
    assert document.places.roots == {"r": Shape.LIST}
    document.add(update({9: (1, [item(*TEXT, origin=(9, 0))])}))  # it clashed before


@pytest.mark.parametrize(
    "rest",
    [
        item(*LONG, origin=(9, 0)),
        item(*LONG, origin=(5, 2), right_origin=(9, 0)),
        item(*LONG, parent=(5, 1)),
    ],
    ids=["collected", "elsewhere", "parent"],
)
def test_the_unknown_rest_of_a_struct_stands_behind_its_known_part(rest: bytes) -> None:
    """The struct claims a text, or nothing; yrs puts what it lacks of it behind what it has: into the list."""
    document = with_type(ARRAY)
    document.add(update({5: (1, [item(7, RICH_TEXT, parent="m", key="t"), item(*TEXT, parent=(5, 1))])}))
    document.add(update({9: (0, [bytes([0, 1]), item(parent=(5, 0))])}))
    assert document.refusal(update({9: (1, [rest])})) is Reason.MALFORMED_UPDATE


def test_beside_what_was_collected_the_other_neighbour_counts() -> None:
    document = with_type(ARRAY)
    document.add(update({9: (0, [bytes([0, 1]), item(parent=(5, 0))])}))
    for beside in (item(*TEXT, origin=(9, 0), right_origin=(9, 1)), item(*TEXT, origin=(9, 1), right_origin=(9, 0))):
        assert document.refusal(update({8: (0, [beside])})) is Reason.MALFORMED_UPDATE


def test_types_nest_to_the_bound_over_many_updates_and_no_deeper() -> None:
    document = Document()
    document.add(update({5: (0, [item(7, ARRAY, parent="r")])}))
    for clock in range(1, 64):
        document.add(update({5: (clock, [item(7, ARRAY, parent=(5, clock - 1))])}))
    assert document.refusal(update({5: (64, [item(7, ARRAY, parent=(5, 63))])})) is Reason.TOO_DEEP
    document.add(update({5: (64, [item(parent=(5, 63))])}))


def test_what_is_refused_leaves_nothing_behind() -> None:
    document = Document()
    good = item(7, ARRAY, parent="r")
    bad = item(*TEXT, parent=(9, 1))
    assert document.refusal(update({9: (0, [item(parent="x"), good, bad])})) is Reason.MALFORMED_UPDATE
    assert document.places.of(Id(9, 1)) is None
    document.add(update({9: (0, [item(parent="y"), item(7, RICH_TEXT, parent="r"), bad])}))
    assert document.places.roots == {"y": Shape.LIST}


def test_updates_of_many_writers_are_taken_in_the_order_of_their_references() -> None:
    docs: list[Doc[Array[int]]] = [Doc(client_id=writer) for writer in (5, 9)]
    for turn in range(20):
        now, then = docs[turn % 2], docs[1 - turn % 2]
        now.get("a", type=Array).append(turn)
        then.apply_update(now.get_update(then.get_state()))
    document = Document()
    document.add(docs[0].get_update())
    assert {document.places.of(Id(writer, clock)) for writer in (5, 9) for clock in range(10)} == {Place("a", None)}


def test_a_hook_would_make_yrs_read_what_follows_otherwise_than_it_was_checked() -> None:
    with pytest.raises(Invalid):
        Document().add(update({5: (0, [item(7, b"\5" + string("h"), parent="x")])}))
