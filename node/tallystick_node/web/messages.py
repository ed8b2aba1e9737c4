"""The y-websocket protocol: binary messages in lib0's encoding, as y-protocols' PROTOCOL.md has them.

    message   = 0 sync | 1 awareness | 2 auth | 3 query awareness
    sync      = 0 step 1 (state vector) | 1 step 2 (what it lacks) | 2 update
    awareness = count, then for each: client id, clock, JSON text ("null": gone)

Rules of this file:
- Pure. What is read is bounded by the message that holds it; what does not fit is a `BadMessageError`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple

from tallystick.errors import Invalid
from tallystick_node.contexts import limits
from tallystick_node.contexts.updates.lib0 import read_number, write_number

_SYNC: Final = 0
_AWARENESS: Final = 1
_QUERY_AWARENESS: Final = 3


class BadMessageError(ValueError):
    """The bytes are no message of the protocol."""


class Kind(enum.Enum):
    """What a message is for."""

    STATE_VECTOR = enum.auto()
    UPDATE = enum.auto()
    AWARENESS = enum.auto()
    QUERY_AWARENESS = enum.auto()
    OTHER = enum.auto()


class Message(NamedTuple):
    """A message, and what it carries: a state vector, an update, or awareness."""

    kind: Kind
    payload: bytes


class AwarenessState(NamedTuple):
    """One client's presence. `state`: JSON text, empty when it is gone."""

    client: int
    clock: int
    state: bytes


def read_message(data: bytes) -> Message:
    """What a client sent; kinds that a server need not know are `OTHER`.

    Raises:
        BadMessageError: it is cut short, or has more than it should.
    """
    kind, at = _read_uint(data, 0)
    if kind == _QUERY_AWARENESS:
        return Message(Kind.QUERY_AWARENESS, b"")
    if kind == _AWARENESS:
        return Message(Kind.AWARENESS, _read_rest(data, at))
    if kind != _SYNC:
        return Message(Kind.OTHER, b"")
    step, at = _read_uint(data, at)
    if step > 2:
        raise BadMessageError(f"sync step {step}")
    return Message(Kind.STATE_VECTOR if step == 0 else Kind.UPDATE, _read_rest(data, at))


def state_vector_message(state_vector: bytes) -> bytes:
    """Step 1: send me what follows."""
    return bytes((_SYNC, 0)) + _with_length(state_vector)


def diff_message(update: bytes) -> bytes:
    """Step 2: what you lacked."""
    return bytes((_SYNC, 1)) + _with_length(update)


def update_message(update: bytes) -> bytes:
    """An edit."""
    return bytes((_SYNC, 2)) + _with_length(update)


def awareness_message(states: Iterable[AwarenessState]) -> bytes:
    """Presence; without states it only says that the line is alive."""
    listed = list(states)
    body = _uint(len(listed)) + b"".join(
        _uint(each.client) + _uint(each.clock) + _with_length(each.state or b"null") for each in listed
    )
    return bytes((_AWARENESS,)) + _with_length(body)


def read_awareness(payload: bytes) -> list[AwarenessState]:
    """The states of an awareness message.

    Raises:
        BadMessageError: it is cut short, or holds more or larger states than a document may.
    """
    count, at = _read_uint(payload, 0)
    if count > limits.PRESENCE_STATES:
        raise BadMessageError(f"{count} presence states")
    states = []
    for _ in range(count):
        client, at = _read_uint(payload, at)
        clock, at = _read_uint(payload, at)
        state, at = _read_bytes(payload, at)
        if len(state) > limits.PRESENCE_BYTES:
            raise BadMessageError(f"a presence state of {len(state)} bytes")
        states.append(AwarenessState(client, clock, b"" if state == b"null" else state))
    if at != len(payload):
        raise BadMessageError("more than was announced")
    return states


def _uint(number: int) -> bytes:
    out = bytearray()
    write_number(out, number)
    return bytes(out)


def _with_length(data: bytes) -> bytes:
    return _uint(len(data)) + data


def _read_uint(data: bytes, at: int) -> tuple[int, int]:
    try:
        return read_number(data, at)
    except (IndexError, Invalid):
        raise BadMessageError("a number that does not end, or is longer than it need be") from None


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size_bytes, at = _read_uint(data, at)
    if at + size_bytes > len(data):
        raise BadMessageError("cut short")
    return data[at : at + size_bytes], at + size_bytes


def _read_rest(data: bytes, at: int) -> bytes:
    payload, at = _read_bytes(data, at)
    if at != len(data):
        raise BadMessageError("more than was announced")
    return payload
