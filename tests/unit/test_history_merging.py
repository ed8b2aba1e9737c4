"""Three-way merge: examples, and what holds for any three documents."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import JSON
from tallystick.history import NOTHING, MergeConflict, diff, merge, patches
from tallystick.history.changes import same
from tallystick.history.merging import ALIGNED_ITEMS, ALIGNED_PAIRS
from tallystick.history.patches import APPEND_BYTES, MUTATION_OPERATIONS, mutations, operations
from tallystick.ops import Operation, OperationKind
from tallystick.ops import set as set_
from tests.property.json_model import Json, apply_model
from tests.unit.test_history_changes import DOCUMENTS

KINDS = {OperationKind.SET: 1, OperationKind.DELETE: 2, OperationKind.INSERT: 5, OperationKind.REPLACE: 7}


def applied(state: JSON, made: list[Operation]) -> JSON:
    """What the operations make of a state, by the model that the node's own operations are tested against."""
    for operation in made:
        tokens = tuple(token.replace("~1", "/").replace("~0", "~") for token in operation.path.split("/")[1:])
        value: Json = operation.value
        state = apply_model(state, KINDS[operation.kind], tokens, value)
    return state


@given(DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_the_operations_of_a_difference_lead_from_the_one_to_the_other(before: JSON, after: JSON) -> None:
    assert same(applied(before, operations(before, diff(before, after))), after)


@given(DOCUMENTS, DOCUMENTS, st.integers(34, 60))
@settings(deadline=None)
def test_what_is_too_large_for_a_mutation_comes_in_member_by_member(before: JSON, after: JSON, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "MUTATION_BYTES", limit)
        cut = mutations(operations(before, diff(before, after)))
    made = [operation for mutation in cut for operation in mutation.operations]
    assert same(applied(before, made), after)
    assert all(len(each.value_json) <= limit - 32 or not isinstance(each.value, dict | list) for each in made)


@given(DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_what_one_side_changed_is_taken(base: JSON, side: JSON) -> None:
    for merged in (merge(base, side, base), merge(base, base, side), merge(base, side, copy.deepcopy(side))):
        assert same(merged.value, side) and not merged.conflicts


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_exchanging_the_sides_exchanges_nothing_else(base: JSON, ours: JSON, theirs: JSON) -> None:
    here, there = merge(base, ours, theirs), merge(base, theirs, ours)
    assert len(here.conflicts) == len(there.conflicts)
    if not here.conflicts:
        assert same(here.value, there.value)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_a_resolver_leaves_no_conflict_and_is_asked_for_each(base: JSON, ours: JSON, theirs: JSON) -> None:
    plain = merge(base, ours, theirs)
    asked: list[MergeConflict] = []

    def keep_ours(conflict: MergeConflict) -> object:
        asked.append(conflict)
        return conflict.ours

    settled = merge(base, ours, theirs, resolve=keep_ours)  # type: ignore[arg-type]  # object: the value is not looked at
    assert not settled.conflicts and asked == list(plain.conflicts)
    assert same(settled.value, plain.value)
    assert not merge(base, ours, theirs, resolve="theirs").conflicts


def test_objects_are_merged_key_by_key() -> None:
    base: JSON = {"a": 1, "b": {"c": 1, "d": 1}, "gone": 1}
    ours: JSON = {"a": 2, "b": {"c": 2, "d": 1}, "gone": 1}
    theirs: JSON = {"a": 1, "b": {"c": 1, "d": 3, "e": 4}}
    assert merge(base, ours, theirs).value == {"a": 2, "b": {"c": 2, "d": 3, "e": 4}}


def test_a_change_of_what_the_other_removed_is_a_conflict() -> None:
    (conflict,) = merge({"a": 1}, {"a": 2}, {}).conflicts
    assert conflict == MergeConflict("/a", 1, 2, NOTHING)
    assert merge({"a": 1}, {"a": 2}, {}, resolve="theirs").value == {}


def test_both_added_a_key_with_other_values() -> None:
    (conflict,) = merge({}, {"k": 1}, {"k": 2}).conflicts
    assert conflict == MergeConflict("/k", NOTHING, 1, 2)
    assert merge({}, {"k": 1}, {"k": 1}).value == {"k": 1}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ([1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3], [0, 1, 2, 3, 4]),
        ([1, 2, 3], [1, 3], [1, 2, 3, 4], [1, 3, 4]),
        ([1, 2, 3, 4, 5], [1, "b", 3, 4, 5, 6], [1, 2, 3, "d", 5], [1, "b", 3, "d", 5, 6]),
        ([{"a": 1}, {"b": 1}], [{"a": 2}, {"b": 1}], [{"a": 1, "c": 1}, {"b": 1}], [{"a": 2, "c": 1}, {"b": 1}]),
        ([1, 2], ["x", 2], [1, "y"], ["x", "y"]),
    ],
)
def test_lists_are_merged_as_lines_are(base: JSON, ours: JSON, theirs: JSON, merged: JSON) -> None:
    done = merge(base, ours, theirs)
    assert done.value == merged and not done.conflicts


def test_two_appends_to_one_list_are_the_callers_to_order() -> None:
    (conflict,) = merge({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}).conflicts
    assert conflict == MergeConflict("/l", [], [2], [3], is_piece=True)

    def both(found: MergeConflict) -> list[JSON]:
        assert isinstance(found.ours, list) and isinstance(found.theirs, list)
        return [*found.ours, *found.theirs]

    assert merge({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}, resolve=both).value == {"l": [1, 2, 3]}


def test_true_is_not_one() -> None:
    assert merge({"a": 1}, {"a": True}, {"a": 1}).value == {"a": True}
    assert merge({"a": 1}, {"a": True}, {"a": 1.0}).conflicts


def test_a_long_list_changed_in_many_places_is_one_piece() -> None:
    base: list[JSON] = list(range(3 * ALIGNED_ITEMS))
    ours, theirs = [*base], [*base]
    ours[1], ours[-2] = "x", "y"
    theirs.append("z")
    assert merge(base, ours, theirs).value == [*ours, "z"]
    theirs.insert(ALIGNED_ITEMS, "in the middle of ours")
    assert len(merge(base, ours, theirs).conflicts) == 1


def test_a_long_list_of_a_few_items_is_one_piece_and_takes_no_minutes() -> None:
    base: list[JSON] = [0] * ALIGNED_ITEMS
    ours: list[JSON] = [0, 1] * (ALIGNED_ITEMS // 2)
    assert len(base) * len(ours) // 2 > ALIGNED_PAIRS
    assert merge(base, ours, [*base, 2]).conflicts
    assert merge(base, base, ours).value == ours
    assert merge(base[:9], [*base[:4], 1, *base[:5]], [2, *base[:9]]).value == [2, 0, 0, 0, 0, 1, *base[:5]]


def test_a_resolver_must_give_what_fits() -> None:
    with pytest.raises(TypeError):
        merge([1], [1, 2], [1, 3], resolve=lambda conflict: 7)
    with pytest.raises(TypeError):
        merge(1, 2, 3, resolve=lambda conflict: NOTHING)


def test_a_difference_is_cut_into_mutations_of_one_append() -> None:
    made = [set_(f"/{n}", "x" * 30_000) for n in range(60)]
    cut = mutations(made, cause="c", reverts=7)
    assert [operation for mutation in cut for operation in mutation.operations] == made
    assert len(cut) == 2 and {mutation.reverts for mutation in cut} == {7}
    assert [len(m.operations) for m in mutations([set_("/a", 1)] * 250)] == [
        MUTATION_OPERATIONS,
        MUTATION_OPERATIONS,
        50,
    ]
    with pytest.raises(Exception, match="one append holds") as refused:
        mutations([set_("/a", "x" * (APPEND_BYTES // 2))] * 2)
    assert "TOO_LARGE" in str(refused.value)
    assert mutations([]) == []
