"""Mutations: admitting what a client handed in, and reading back what was admitted.

Rules of this file:
- `admit_mutation` is the only way in: whatever about a mutation does not depend on a state is checked here, once, by
  the node that proposes it.
- `decode_mutation` trusts its bytes, for it reads what was admitted; what it cannot read, a newer node wrote.
- A mutation is serialized once; those bytes are hashed, stored and handed out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from tallystick.errors import Invalid, Reason
from tallystick.v1 import state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import Mutation, Operation, OperationKind
from tallystick_node.core.observation_records import SeenLog
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.pointer import END, Tokens, check_pointer, is_index, parse_pointer
from tallystick_node.core.values import parse_json
from tallystick_node.wire.errors import Malformed, UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_name
from tallystick_node.wire.observations import admit_observed, observed_logs

RESERVED_KINDS: Final = ("step.", "turn.")
"""How kinds begin that no client may hand in: those of `step_mutations.py`."""

STATE_KIND: Final = "state"
"""The kind of a mutation that changes the state; empty means the same."""

_KINDS: Final[Mapping[int, OperationKind]] = {int(kind): kind for kind in OperationKind}


def decode_mutation(raw: bytes) -> Mutation:
    """A mutation that was admitted before.

    Raises:
        Malformed: the bytes are no mutation.
        UnsupportedFormat: it holds an operation of a kind that this version does not know.
    """
    try:
        message = state_pb2.Mutation.FromString(raw)
    except DecodeError as error:
        raise Malformed(f"a mutation: {error}") from error
    try:
        operations = tuple(
            [Operation(_KINDS[each.kind], parse_pointer(each.path), each.value) for each in message.operations]
        )
    except KeyError as unknown:
        raise UnsupportedFormat(f"operation kind {unknown}") from None
    observed = observed_logs(message.observed) if message.HasField("observed") else None
    return Mutation(raw, operations, tuple(message.payloads), observed, message.schema_version)


def admit_mutations(messages: Iterable[state_pb2.Mutation]) -> tuple[Mutation, ...]:
    """The mutations of an append.

    Raises:
        Invalid: with the reason, and `metadata["field"]` naming the field, `metadata["mutation"]` which one.
    """
    admitted: list[Mutation] = []
    for message in messages:
        if len(admitted) == limits.APPEND_MUTATIONS:
            raise _too_many("mutations", limits.APPEND_MUTATIONS)
        try:
            admitted.append(admit_mutation(message))
        except Invalid as refused:
            refused.metadata["mutation"] = str(len(admitted))
            raise
    if not admitted:
        raise Invalid("an append has at least one mutation", metadata={"field": "mutations"})
    if sum(len(mutation.observed or ()) for mutation in admitted) > limits.APPEND_OBSERVED_LOGS:
        raise _too_many("observed.logs", limits.APPEND_OBSERVED_LOGS)
    return tuple(admitted)


def admit_mutation(message: state_pb2.Mutation) -> Mutation:
    """Check a client's mutation and serialize it.

    Raises:
        Invalid: with the reason, and `metadata["field"]` naming the field.
    """
    check_bytes("cause", message.cause.encode(), limits.CAUSE_BYTES)
    check_bytes("trace_id", message.trace_id.encode(), limits.TRACE_BYTES)
    check_bytes("id", message.id, limits.MUTATION_ID_BYTES)
    observed = admit_observed(message.observed) if message.HasField("observed") else None
    raw = _serialized(message)
    kind = message.kind
    if kind in {"", STATE_KIND}:
        return _admitted(message, raw, _admit_operations(message), observed)
    check_name("kind", kind)
    if kind.startswith(RESERVED_KINDS):
        raise Invalid(
            f"kind {kind!r} is reserved: steps and turns are begun and ended by calls of their own",
            metadata={"field": "kind"},
        )
    if message.operations:
        raise Invalid(
            f"a mutation of kind {kind!r} has no operations: only {STATE_KIND!r} changes the state",
            metadata={"field": "operations"},
        )
    if message.payload:
        parse_json(message.payload, "payload")
    return _admitted(message, raw, (), observed)


def admit_payloads(field: str, *texts: bytes) -> tuple[bytes, ...]:
    """The ids of the payloads that JSON texts, which were checked, name.

    Raises:
        Invalid: `TOO_LARGE`, there are too many.
    """
    named = payloads_named(*texts)
    if len(named) > limits.MUTATION_PAYLOADS:
        raise Invalid(
            f"{field} names {len(named)} payloads, the limit is {limits.MUTATION_PAYLOADS}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limits.MUTATION_PAYLOADS), "unit": "items"},
        )
    return named


def _admitted(
    message: state_pb2.Mutation,
    raw: bytes,
    operations: tuple[Operation, ...],
    observed: tuple[SeenLog, ...] | None,
) -> Mutation:
    """With the payloads that it names; what a client said of them does not count. `raw`: the message as it came."""
    payloads = admit_payloads("mutation", message.payload, *[operation.value for operation in operations])
    if payloads or message.payloads:
        message.ClearField("payloads")
        message.payloads.extend(payloads)
        raw = _serialized(message)
    return Mutation(raw, operations, payloads, observed, message.schema_version)


def _serialized(message: state_pb2.Mutation) -> bytes:
    raw = message.SerializeToString(deterministic=True)
    check_bytes("mutation", raw, limits.MUTATION_BYTES)
    return raw


def _admit_operations(message: state_pb2.Mutation) -> tuple[Operation, ...]:
    if message.payload:
        raise Invalid("only a custom kind has a payload", metadata={"field": "payload"})
    operations = message.operations
    if not operations:
        raise Invalid("a mutation of the state has at least one operation", metadata={"field": "operations"})
    if len(operations) > limits.MUTATION_OPERATIONS:
        raise _too_many("operations", limits.MUTATION_OPERATIONS)
    return tuple([_admit_operation(operation) for operation in operations])  # a generator costs more: the hot path


def _admit_operation(message: state_pb2.Operation) -> Operation:
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise _unfit(f"operation kind {message.kind} is not known", "kind")
    tokens = check_pointer(message.path)
    if not tokens and kind in {OperationKind.DELETE, OperationKind.INSERT}:
        raise _unfit(f"{kind.name}: the path is empty", "path")
    if tokens and kind is OperationKind.REPLACE:
        raise _unfit("REPLACE is of the whole state: the path must be empty", "path")
    if kind is OperationKind.INSERT and tokens[-1] != END and not is_index(tokens[-1]):
        raise _unfit("INSERT: the path must end in an index of a list, or '-'", "path")
    value = message.value
    _admit_value(kind, tokens, value)
    return Operation(kind, tokens, value)


def _admit_value(kind: OperationKind, tokens: Tokens, text: bytes) -> None:
    if kind is OperationKind.DELETE:
        if text:
            raise _unfit("DELETE has no value", "value")
        return
    nesting = len(tokens) + (1 if kind is OperationKind.APPEND else 0)
    value = parse_json(text, depth_limit=limits.JSON_DEPTH - nesting)
    if kind is OperationKind.INCREMENT and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _unfit("INCREMENT: the value must be a number", "value")


def _unfit(why: str, field: str) -> Invalid:
    return Invalid(why, reason=Reason.INVALID_OPERATION, metadata={"field": field})


def _too_many(field: str, limit: int) -> Invalid:
    return Invalid(
        f"more than {limit} {field}",
        reason=Reason.TOO_LARGE,
        metadata={"field": field, "limit": str(limit), "unit": "items"},
    )
