"""The y-websocket protocol: what stock clients send is read, what is cut or too large is not believed."""

from __future__ import annotations

import pycrdt
import pytest

from tallystick_node.contexts import limits
from tallystick_node.web.messages import (
    AwarenessState,
    BadMessageError,
    Kind,
    awareness_message,
    diff_message,
    read_awareness,
    read_message,
    state_vector_message,
    update_message,
)


def test_what_another_implementation_sends_is_read() -> None:
    doc: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc()
    doc.get("m", type=pycrdt.Map)["k"] = "v"
    asked = read_message(pycrdt.create_sync_message(doc))
    assert asked == (Kind.STATE_VECTOR, doc.get_state())
    edit = read_message(pycrdt.create_update_message(doc.get_update()))
    assert edit == (Kind.UPDATE, doc.get_update())


def test_what_we_send_is_read_by_another_implementation() -> None:
    doc: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc()
    other: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc()
    doc.get("m", type=pycrdt.Map)["k"] = "v"
    reply = pycrdt.handle_sync_message(state_vector_message(other.get_state())[1:], doc)
    assert reply is not None
    assert read_message(reply) == (Kind.UPDATE, doc.get_update(other.get_state()))
    for message in (diff_message(doc.get_update()), update_message(doc.get_update())):
        fresh: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc()
        pycrdt.handle_sync_message(message[1:], fresh)
        assert fresh.get("m", type=pycrdt.Map).to_py() == {"k": "v"}


def test_presence_comes_back_as_it_was() -> None:
    states = [AwarenessState(2**40, 7, b'{"name":"ada"}'), AwarenessState(1, 300, b"")]
    message = read_message(awareness_message(states))
    assert message.kind is Kind.AWARENESS
    assert read_awareness(message.payload) == states


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_message_cut_short_is_refused(cut: int) -> None:
    message = awareness_message([AwarenessState(2**31, 12, b'{"name":"somebody with a long name"}')])
    with pytest.raises(BadMessageError):
        read_awareness(read_message(message[:-cut]).payload)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x03\x00",
        b"\x00\x02\x05abc",
        b"\x00\x02\x01abc",
        b"\x00\x02\x81\x00a",
        b"\x80" * 20,
        b"\x01\xff\xff\xff\xff\x0f",
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessageError):
        read_message(data)


def test_presence_beyond_its_limits_is_refused() -> None:
    large = awareness_message([AwarenessState(1, 1, b'"' + b"x" * limits.PRESENCE_BYTES + b'"')])
    many = awareness_message([AwarenessState(n, 1, b"1") for n in range(limits.PRESENCE_STATES + 1)])
    for message in (large, many):
        with pytest.raises(BadMessageError):
            read_awareness(read_message(message).payload)
