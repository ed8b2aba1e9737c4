"""A document in place: exact size after every operation, and exactly the old value after a rollback."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Refused
from tallystick_node.core.commands import Operation
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.pointer import format_pointer, parse_pointer
from tallystick_node.core.values import JsonValue, canonical_json, json_size, parse_json
from tests.property.test_state_database import VALUES, operations


@given(VALUES, st.lists(operations(), max_size=12))
@settings(max_examples=400, deadline=None)
def test_rollback_restores_value_and_size(root: JsonValue, changes: list[Operation]) -> None:
    before = copy.deepcopy(root)
    document = Document(root, json_size(root))
    for operation in changes:
        try:
            apply_operation(document, operation)
        except Refused:
            continue
        assert document.size_bytes == json_size(document.root)
    document.rollback()
    assert canonical_json(document.root) == canonical_json(before)
    assert document.size_bytes == json_size(before)


@given(VALUES, operations())
@settings(max_examples=200, deadline=None)
def test_a_document_shares_nothing_with_the_operation(root: JsonValue, operation: Operation) -> None:
    documents = [Document(copy.deepcopy(root), json_size(root)) for _ in range(2)]
    for document in documents:
        try:
            apply_operation(document, operation)
        except Refused:
            return
    left, right = (_containers(document.root) for document in documents)
    assert not left & right


def _containers(value: JsonValue) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*[_containers(item) for item in value.values()])
    if isinstance(value, list):
        return {id(value)}.union(*[_containers(item) for item in value])
    return set()


@given(st.lists(st.text("~/01-aé", max_size=4), max_size=5))
def test_pointers_round_trip(tokens: list[str]) -> None:
    assert parse_pointer(format_pointer(tuple(tokens))) == tuple(tokens)


@given(VALUES)
def test_canonical_json_round_trips(value: JsonValue) -> None:
    text = canonical_json(value)
    assert canonical_json(parse_json(text)) == text
