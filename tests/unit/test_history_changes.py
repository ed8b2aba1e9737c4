"""The difference of two JSON documents: applied, it gives the second."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import JSON
from tallystick.history.changes import StateChange, diff, same

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 2.5]) | st.sampled_from(["", "a"])
DOCUMENTS: st.SearchStrategy[JSON] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["a", "b/c", "~", "", "0"]), inner),
    max_leaves=20,
)


def apply(changes: list[StateChange], document: JSON) -> JSON:
    """RFC 6902, written for this test; each change must find before what it says it found."""
    holder: list[JSON] = [copy.deepcopy(document)]
    for change in changes:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in change.path.split("/")[1:]]
        parent: JSON = holder
        for token in ["0", *tokens][:-1]:
            assert isinstance(parent, (dict, list))
            parent = parent[token] if isinstance(parent, dict) else parent[int(token)]
        last = ["0", *tokens][-1]
        if isinstance(parent, dict):
            assert (last in parent) == (change.op != "add")
            if change.op != "add":
                assert same(parent[last], change.before)
                del parent[last]
            if change.op != "remove":
                parent[last] = change.after
        else:
            assert isinstance(parent, list)
            index = int(last)
            assert index < len(parent) + (change.op == "add")
            if change.op != "add":
                assert same(parent.pop(index), change.before)
            if change.op != "remove":
                parent.insert(index, change.after)
    return holder[0]


@given(DOCUMENTS, DOCUMENTS)
def test_applied_it_gives_the_second(before: JSON, after: JSON) -> None:
    changes = diff(before, after)
    assert same(apply(changes, before), after)
    assert bool(changes) != same(before, after)


@given(DOCUMENTS)
def test_nothing_changed_is_no_change(document: JSON) -> None:
    assert diff(document, copy.deepcopy(document)) == []


@pytest.mark.parametrize(("one", "other"), [(True, 1), (False, 0), (1, 1.0), (None, False), ("1", 1), ([], {})])
def test_equality_is_that_of_json(one: JSON, other: JSON) -> None:
    assert not same(one, other)
    assert diff([one], [other]) == [StateChange("replace", "/0", one, other)]


def test_a_piece_put_into_a_list_or_taken_out_is_the_only_change() -> None:
    assert diff([1, 2, 3], [1, 9, 8, 2, 3]) == [StateChange("add", "/1", None, 9), StateChange("add", "/2", None, 8)]
    assert diff([1, 9, 8, 2], [1, 2]) == [StateChange("remove", "/2", 8, None), StateChange("remove", "/1", 9, None)]


def test_keys_are_escaped_and_changes_are_in_order_of_keys() -> None:
    assert diff({"b": 1, "a/~": {"x": 1}}, {"c": 2, "a/~": {"x": 2}}) == [
        StateChange("replace", "/a~1~0/x", 1, 2),
        StateChange("remove", "/b", 1, None),
        StateChange("add", "/c", None, 2),
    ]


def test_as_a_patch_it_has_before_as_an_extra_member() -> None:
    assert [change.to_json() for change in diff({"a": 1, "b": None}, {"a": None, "c": 3})] == [
        {"op": "replace", "path": "/a", "before": 1, "value": None},
        {"op": "remove", "path": "/b", "before": None},
        {"op": "add", "path": "/c", "value": 3},
    ]
