"""What an agent sees offline is what the node decides: the client's operations against the node's own."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import Mutation
from tallystick._values import Operation as ClientOperation
from tallystick._values import OperationKind as ClientKind
from tallystick.errors import Refused
from tallystick.outbox.applying import apply
from tallystick_node.core.commands import Operation
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.pointer import format_pointer
from tallystick_node.core.values import JsonValue, canonical_json, json_size
from tests.property.test_state_database import VALUES, operations


def as_client(operation: Operation) -> ClientOperation:
    return ClientOperation(ClientKind(operation.kind.name.lower()), format_pointer(operation.tokens), operation.value)


@given(VALUES, st.lists(operations(), min_size=1, max_size=8))
@settings(max_examples=1500, deadline=None)
def test_the_client_and_the_node_agree(root: JsonValue, changes: list[Operation]) -> None:
    document = Document(copy.deepcopy(root), json_size(root))
    state = copy.deepcopy(root)
    for operation in changes:
        before = canonical_json(state)
        try:
            apply_operation(document, operation)
            document.commit()
            refused = False
        except Refused:
            document.rollback()
            refused = True
        try:
            after = apply(state, [Mutation.of(as_client(operation))])
        except Refused:
            assert refused, f"the node takes {operation}"
            continue
        assert not refused, f"the node refuses {operation}"
        assert canonical_json(state) == before, "the state before was changed"
        assert canonical_json(after) == canonical_json(document.root)
        state = after
