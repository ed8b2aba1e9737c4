"""Maps, lists and sets: as in Python on one replica, and each by its rule when two edit at once."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence

import pytest

from tallystick import Invalid
from tallystick.contexts.views.values import Value
from tests.unit.contexts.views.kit import Peer, exchange, pair


def test_map_is_a_dict() -> None:
    peer = Peer()
    tasks = peer.views.map("m")
    tasks["b"], tasks["a"] = 1, [2]
    assert list(tasks) == ["a", "b"]
    assert dict(tasks) == {"a": [2], "b": 1} == tasks.to_dict()
    assert "a" in tasks
    assert (5 in tasks) is False  # type: ignore[comparison-overlap]
    assert tasks.get("c", 7) == 7
    assert tasks.pop("a") == [2]
    assert tasks.setdefault("b", 9) == 1
    with pytest.raises(KeyError):
        tasks["gone"]
    with pytest.raises(KeyError):
        del tasks["gone"]
    with pytest.raises(KeyError):
        tasks[1]  # type: ignore[index]
    del tasks["b"]
    assert len(tasks) == 0


def test_keys_come_in_one_order_on_all_replicas() -> None:
    here, there = pair()
    for key in "zyxwvutsrqponml":
        here.views.map("m")[key] = key
    exchange(here, there)
    for peer in (here, there):
        assert list(peer.views.map("m")) == list(peer.views.map("m").to_dict()) == sorted("zyxwvutsrqponml")


def test_map_sets_many_and_clears_in_one_edit() -> None:
    peer = Peer()
    tasks = peer.views.map("m")
    tasks.set_many({"a": 1, "b": 2})
    tasks.update({"c": 3}, d=4)
    assert len(peer.updates) == 2
    tasks.clear()
    assert (dict(tasks), len(peer.updates)) == ({}, 3)
    tasks.clear()
    tasks.set_many({})
    assert len(peer.updates) == 3


def test_map_reads_what_lies_below_a_path() -> None:
    tasks = Peer().views.map("m")
    tasks.set_many({"t1/status": "open", "t1/by": "a", "t10/status": "done", "t1": 0})
    assert tasks.below("t1") == {"by": "a", "status": "open"}


def test_map_fields_under_flat_keys_merge_and_one_key_goes_to_the_higher_writer() -> None:
    here, there = pair()
    here.views.map("m").set_many({"t/status": "open", "x": "here"})
    there.views.map("m").set_many({"t/by": "b", "x": "there"})
    exchange(here, there)
    for peer in (here, there):
        assert peer.views.map("m").to_dict() == {"t/status": "open", "t/by": "b", "x": "there"}


def test_nested_dicts_are_values_so_no_side_is_lost_but_by_the_rule_of_the_key() -> None:
    """A shared map inside a map, made on both sides at once, would lose one side whole; with keys nothing is lost."""
    here, there = pair()
    here.views.map("m")["t/a"] = {"x": 1}
    there.views.map("m")["t/b"] = {"y": 2}
    exchange(here, there)
    assert here.views.map("m").below("t") == {"a": {"x": 1}, "b": {"y": 2}}
    assert '"m"' not in str(here.doc.get_update())


def test_list_is_a_list() -> None:
    peer = Peer()
    items = peer.views.list("l")
    model: list[Value] = []
    changes: list[Callable[[MutableSequence[Value]], object]] = [
        lambda it: it.append(1),
        lambda it: it.extend([2, 3, 4]),
        lambda it: it.insert(0, "a"),
        lambda it: it.insert(-1, "b"),
        lambda it: it.insert(99, "c"),
        lambda it: it.insert(-99, "d"),
        lambda it: it.pop(),
        lambda it: it.pop(-2),
        lambda it: it.__setitem__(0, "e"),
        lambda it: it.__setitem__(-1, "f"),
        lambda it: it.__setitem__(slice(1, 3), ["g", "h", "i"]),
        lambda it: it.__setitem__(slice(3, 1), ["j"]),
        lambda it: it.__delitem__(slice(-2, None)),
        lambda it: it.__delitem__(-1),
        lambda it: it.remove("g"),
        lambda it: it.reverse(),
        lambda it: it.__iadd__([7]),
    ]
    for change in changes:
        change(items)
        change(model)
        assert items.items() == model == list(items)
        assert len(items) == len(model)
        assert [items[place] for place in range(-len(model), len(model))] == model + model
    assert items[1:] == model[1:]
    assert items[::-1] == model[::-1]
    assert 7 in items
    assert items.index(7) == model.index(7)
    items.clear()
    assert items.items() == []


@pytest.mark.parametrize("index", [0, -1, 5])
def test_list_refuses_an_index_that_is_not_there(index: int) -> None:
    items = Peer().views.list("l")
    with pytest.raises(IndexError):
        items[index]
    with pytest.raises(IndexError):
        del items[index]
    with pytest.raises(IndexError):
        items[index] = 1
    with pytest.raises(IndexError):
        items.move(index, 0)
    with pytest.raises(ValueError, match="no step"):
        items[::2] = []


def test_list_moves_in_one_edit() -> None:
    for start in range(5):
        for to in range(5):
            peer = Peer()
            items = peer.views.list("l")
            items.extend([*range(5)])
            edits = len(peer.updates)
            items.move(start, to)
            expected = [*range(5)]
            expected.insert(to, expected.pop(start))
            assert items.items() == expected
            assert len(peer.updates) - edits == (start != to)
    items.move(-1, 0)
    assert items[0] == 4


def test_list_keeps_what_both_inserted() -> None:
    here, there = pair()
    here.views.list("l").extend(["h1", "h2"])
    there.views.list("l").extend(["t1", "t2"])
    exchange(here, there)
    merged = here.views.list("l").items()
    assert merged == there.views.list("l").items()
    assert sorted(map(str, merged)) == ["h1", "h2", "t1", "t2"]
    assert merged.index("h1") < merged.index("h2")
    assert merged.index("t1") < merged.index("t2")


def test_list_moved_at_once_is_there_twice() -> None:
    here, there = pair()
    here.views.list("l").extend(["a", "b", "c"])
    exchange(here, there)
    here.views.list("l").move(0, 2)
    there.views.list("l").move(0, 1)
    exchange(here, there)
    assert here.views.list("l").items() == there.views.list("l").items()
    assert here.views.list("l").items().count("a") == 2  # as documented


def test_set_is_a_set() -> None:
    peer = Peer()
    tags = peer.views.set("s")
    tags.add("b")
    tags.update(["a", 1, True, None, 1.5, "#", 'a"#1'])
    assert len(peer.updates) == 2
    assert list(map(repr, tags)) == ["'#'", "'a'", "'a\"#1'", "'b'", "1", "1.5", "None", "True"]
    assert "a" in tags
    assert 1 in tags
    assert True in tags
    assert False not in tags
    nevers: list[object] = [b"a", [], "\ud800"]
    assert not any(never in tags for never in nevers)
    assert 1.0 in tags
    tags.remove("a")
    tags.discard("never there")
    tags.discard("\ud800")
    with pytest.raises(KeyError):
        tags.remove("a")
    assert tags | {"z"} == set(tags) | {"z"}
    assert tags & {"b"} == {"b"}
    tags.clear()
    assert len(tags) == 0
    edits = len(peer.updates)
    tags.clear()
    tags.update([])
    assert len(peer.updates) == edits


@pytest.mark.parametrize("element", [b"x", [1], {"a": 1}, "\ud800", 2**53, float("nan"), "x" * 2000])
def test_set_refuses_what_is_no_element(element: str) -> None:
    peer = Peer()
    with pytest.raises(Invalid):
        peer.views.set("s").update(["fine", element])
    assert not peer.updates


def test_adding_wins() -> None:
    here, there = pair()
    here.views.set("s").update(["stays", "goes"])
    exchange(here, there)
    here.views.set("s").add("stays")  # though it is there: the other side is about to remove what it sees
    there.views.set("s").discard("stays")
    there.views.set("s").discard("goes")
    exchange(here, there)
    for peer in (here, there):
        assert peer.views.set("s").elements() == ["stays"]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_removing_leaves_what_an_unseen_writer_added(order: tuple[int, int, int]) -> None:
    """With one key for all writers, one addition would take the place of the other and go with it."""
    one, other, remover = (Peer(number) for number in order)
    one.views.set("s").add("x")
    other.views.set("s").add("x")
    remover.take_from(other)
    remover.views.set("s").discard("x")
    exchange(one, other, remover)
    for peer in (one, other, remover):
        assert peer.views.set("s").elements() == ["x"]


def test_removing_removes_what_all_added() -> None:
    here, there = pair()
    here.views.set("s").add("x")
    there.views.set("s").add("x")
    exchange(here, there)
    there.views.set("s").discard("x")
    exchange(here, there)
    assert here.views.set("s").elements() == there.views.set("s").elements() == []
