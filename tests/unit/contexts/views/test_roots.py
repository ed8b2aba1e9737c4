"""A root has one kind, whoever asks, and wherever its content came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pycrdt
import pytest

from tallystick import Invalid, Reason
from tallystick._json import JSON
from tallystick.contexts.views import Views
from tallystick.contexts.views.roots import TYPES, reserved_root, settle_roots
from tallystick.contexts.views.shapes import Kind
from tests.unit.contexts.views.kit import Peer, exchange, pair

EDITS: dict[Kind, Callable[[Views, str], None]] = {
    Kind.MAP: lambda views, name: views.map(name).update(a=1),
    Kind.LIST: lambda views, name: views.list(name).append(1),
    Kind.TEXT: lambda views, name: views.text(name).append("x"),
    Kind.COUNTER: lambda views, name: views.counter(name).add(1),
    Kind.SET: lambda views, name: views.set(name).add("x"),
    Kind.REGISTER: lambda views, name: views.register(name).set(1),
    Kind.BOARD: lambda views, name: views.board(name).add("t"),
}
OPENS: dict[Kind, Callable[[Views, str], object]] = {
    Kind.MAP: Views.map,
    Kind.LIST: Views.list,
    Kind.TEXT: Views.text,
    Kind.COUNTER: Views.counter,
    Kind.SET: Views.set,
    Kind.REGISTER: Views.register,
    Kind.BOARD: Views.board,
}
TWO_KINDS = [(one, other) for one in EDITS for other in EDITS if one is not other]


@pytest.mark.parametrize(("one", "other"), TWO_KINDS)
def test_another_kind_is_refused_here_and_where_the_edit_came(one: Kind, other: Kind) -> None:
    here, there = pair()
    EDITS[one](here.views, "root")
    exchange(here, there)
    for peer in (here, there):
        before = peer.views.to_json()
        with pytest.raises(Invalid) as refused:
            OPENS[other](peer.views, "root")
        assert refused.value.reason is Reason.TYPE_CLASH
        assert refused.value.metadata == {"root": "root", "type": str(one)}
        OPENS[one](peer.views, "root")
        assert peer.views.to_json() == before


@pytest.mark.parametrize(("one", "other"), TWO_KINDS)
def test_view_that_was_open_before_another_kind_came_is_refused(one: Kind, other: Kind) -> None:
    here, there = pair()
    OPENS[other](there.views, "root")
    EDITS[one](here.views, "root")
    exchange(here, there)
    before = there.views.to_json()
    with pytest.raises(Invalid) as refused:
        EDITS[other](there.views, "root")
    assert refused.value.reason is Reason.TYPE_CLASH
    assert there.views.to_json() == before


def test_two_kinds_at_once_end_as_one_on_all_replicas() -> None:
    here, there = pair()
    here.views.map("root")["a"] = 1
    there.views.list("root").append(1)
    exchange(here, there)
    assert here.views.to_json() == there.views.to_json()
    assert there.views.list("root").items() == [1]  # the writer with the higher id is believed
    with pytest.raises(Invalid):
        there.views.map("root")
    for open_again in (Views.map, Views.list):  # here the root's type is settled, and nobody could observe another
        with pytest.raises(Invalid):
            open_again(here.views, "root")
    here.become_another()
    assert here.views.list("root").items() == [1]


@pytest.mark.parametrize("is_list", [True, False])
def test_what_holds_text_is_not_read_as_a_list(*, is_list: bool) -> None:
    """Two replicas that had not met: the higher writer is believed. Beyond ASCII pycrdt would not come back."""
    one, other = pair()
    lists, texts = (other, one) if is_list else (one, other)
    items = lists.views.list("root")
    items.append(1)
    texts.views.text("root").append("poke")
    exchange(one, other)
    for peer in (one, other):
        assert peer.views.to_json() == {"root": "poke"}
        if is_list:
            with pytest.raises(Invalid) as refused:
                peer.views.list("root")
            assert refused.value.reason is Reason.TYPE_CLASH
        elif peer is texts:
            assert str(peer.views.text("root")) == "poke"
            with pytest.raises(Invalid) as refused:  # pycrdt counts the list's items too: it would panic
                peer.views.text("root").delete(1, 4)
            assert refused.value.reason is Reason.TYPE_CLASH
    steps: list[Callable[[], object]] = [items.items, lambda: items.append(2), lambda: items[0], items.clear]
    for step in steps:
        with pytest.raises(Invalid):
            step()


def test_view_of_a_root_that_is_not_yet_leaves_it_open() -> None:
    """With the first look pycrdt settles a root's type; observers of the right type then panic."""
    here, there = pair()
    assert there.views.list("root").items() == []
    EDITS[Kind.TEXT](here.views, "root")
    exchange(here, there)
    text = there.doc.get("root", type=pycrdt.Text)
    seen: list[str] = []
    subscription = text.observe(lambda event: seen.append(str(event)))
    there.views.text("root").append("y")
    text.unobserve(subscription)
    assert len(seen) == 1
    assert str(there.views.text("root")) == "xy"


FOREIGN: list[tuple[str, pycrdt.Map[object] | pycrdt.Array[object] | pycrdt.Text, Kind]] = [
    ("map", pycrdt.Map({"a": 1}), Kind.MAP),
    ("list", pycrdt.Array([1]), Kind.LIST),
    ("list of str", pycrdt.Array(["x"]), Kind.LIST),
    ("text", pycrdt.Text("x"), Kind.TEXT),
]


@pytest.mark.parametrize(("root", "kind"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_root_that_another_program_made_is_known_by_its_content(
    root: pycrdt.Map[object] | pycrdt.Array[object] | pycrdt.Text, kind: Kind
) -> None:
    here, there = pair()
    open_before = {other: Peer() for other in OPENS}
    for other, peer in open_before.items():
        OPENS[other](peer.views, "root")
    here.doc["root"] = type(root)(root.prelim)
    fits = {kind} if kind in (Kind.LIST, Kind.TEXT) else set(OPENS) - {Kind.LIST, Kind.TEXT}
    for other in OPENS:
        there = Peer(2)
        there.take_from(here)
        open_before[other].take_from(here)
        if other in fits:
            OPENS[other](there.views, "root")
            EDITS[other](there.views, "root")
            EDITS[other](open_before[other].views, "root")
            continue
        with pytest.raises(Invalid):
            OPENS[other](there.views, "root")
        with pytest.raises(Invalid):  # it was empty when it was opened
            EDITS[other](open_before[other].views, "root")


@pytest.mark.parametrize("kind", [Kind.MAP, Kind.LIST, Kind.TEXT])
def test_looking_at_what_another_program_made_settles_no_wrong_type(kind: Kind) -> None:
    here, there = pair()
    here.doc["root"] = pycrdt.Text("x")
    exchange(here, there)
    if kind is Kind.TEXT:
        OPENS[kind](there.views, "root")
    else:
        with pytest.raises(Invalid):
            OPENS[kind](there.views, "root")
    assert there.views.to_json() == {"root": "x"}
    text = cast("pycrdt.Text", there.doc.get("root", type=pycrdt.Text))
    seen: list[str] = []
    subscription = text.observe(lambda event: seen.append(str(event)))
    text.insert(0, "y")  # pycrdt would panic here
    text.unobserve(subscription)
    assert len(seen) == 1


def test_looking_writes_nothing() -> None:
    peer = Peer()
    for kind, open_view in OPENS.items():
        open_view(peer.views, f"root {kind}")
    assert peer.views.map("root map").to_dict() == {}
    assert str(peer.views.text("root text")) == ""
    assert peer.views.to_json() == {}
    assert not peer.updates


def test_kind_is_recorded_in_the_first_edit_and_once() -> None:
    peer = Peer()
    peer.views.map("m")["a"] = 1
    peer.views.map("m")["b"] = 1
    assert len(peer.updates) == 2
    assert str(peer.doc.get("tallystick", type=pycrdt.Map)) == '{"roots/m":"map"}'
    one_edit = Peer(1)
    one_edit.doc.apply_update(peer.updates[0])
    with pytest.raises(Invalid):
        one_edit.views.list("m")


@pytest.mark.parametrize("name", ["", "tallystick", "tallystick/mine", "x" * 129, "\ud800", 5])
def test_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        Peer().views.map(name)
    assert refused.value.reason is Reason.INVALID_NAME


def test_schema_names_the_kinds() -> None:
    schema: JSON = {"roots": {"tasks": {"type": "map"}, "any": {}}, "strict": True}
    peer = Peer(schema=schema)
    for name in ("tasks", "other"):
        with pytest.raises(Invalid) as refused:
            peer.views.list(name)
        assert refused.value.reason is Reason.TYPE_CLASH
    peer.views.map("tasks")["a"] = 1
    peer.views.list("any").append(1)
    loose = Peer(schema={"roots": {"tasks": {"type": "map"}}})
    loose.views.list("other").append(1)


def test_views_follow_the_replica_when_it_is_another_one() -> None:
    peer = Peer()
    views = peer.views
    items, text, tasks, spent = views.list("l"), views.text("t"), views.map("m"), views.counter("c")
    items.append(1)
    text.append("a")
    tasks["a"] = 1
    spent.add(2)
    peer.become_another()
    assert (items.items(), str(text), dict(tasks), spent.value) == ([1], "a", {"a": 1}, 2)
    items.append(2)
    text.append("é")
    tasks["b"] = 2
    spent.add(3)
    other = Peer(1)
    other.take_from(peer)
    assert other.views.to_json() == {"l": [1, 2], "t": "aé", "m": {"a": 1, "b": 2}, "c": 5}


def test_settled_roots_can_be_observed() -> None:
    here, there = pair()
    for kind, edit in EDITS.items():
        edit(here.views, f"root {kind}")
    exchange(here, there)
    settle_roots(there.doc)
    types = {name: type(root) for name, root in there.doc.items()}
    assert types == {"tallystick": pycrdt.Map} | {f"root {kind}": TYPES[kind] for kind in EDITS}
    for kind, edit in EDITS.items():
        edit(there.views, f"root {kind}")


def test_view_declares_anew_what_was_undone() -> None:
    """An undone first edit takes the kind along."""
    peer = Peer()
    tasks = peer.views.map("m")
    tasks["a"] = 1
    del reserved_root(peer.doc)["roots/m"]
    tasks["b"] = 2
    other = Peer(1)
    other.take_from(peer)
    with pytest.raises(Invalid):
        other.views.list("m")


def test_one_name_gives_one_view() -> None:
    peer = Peer()
    assert peer.views.map("m") is peer.views.map("m")
    for number in range(2000):
        peer.views.map(f"m{number}")
    assert len(peer.views._kept) <= 1000


def test_nested_types_of_other_programs_are_read_as_values() -> None:
    here, there = pair()
    here.doc["m"] = pycrdt.Map({"q": pycrdt.Map({"z": pycrdt.Array([1, b"x", pycrdt.Text("hi")])})})
    here.doc["l"] = pycrdt.Array([pycrdt.Map({"b": b"x"}), pycrdt.Text("t")])
    exchange(here, there)
    assert there.views.map("m")["q"] == {"z": [1, b"x", "hi"]}
    assert there.views.list("l").items() == [{"b": b"x"}, "t"]
    assert there.views.list("l")[0] == {"b": b"x"}
    assert there.views.to_json()["l"] == [{"b": {"$bytes": "eA=="}}, "t"]
