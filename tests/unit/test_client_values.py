"""The client's pure parts: JSON at the edge, operations, revisions, times, addresses, sessions."""

from __future__ import annotations

import enum
import math
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tallystick
from tallystick import _convert, ops
from tallystick._channel import parse_address
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._session import MAX_GROUPS, Session
from tallystick._times import to_time, to_unix_ms
from tallystick.errors import Corrupt, Invalid, Reason
from tallystick.v1 import common_pb2, state_pb2

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[JSON] = st.recursive(
    SCALARS | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=10
)


class Colour(enum.Enum):
    RED = "red"


@given(VALUES)
def test_json_comes_back_as_it_went(value: JSON) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [1, {"a": -math.inf}],
        {1: "a"},
        {"a": {None: 1}},
        {1, 2},
        b"bytes",
        datetime(2024, 1, 1, tzinfo=UTC),
        uuid.UUID(int=1),
        Colour.RED,
        OrderedDict(a=1),
        2**64,
        "\ud800",
        pytest.param(object(), id="object"),
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        ops.set("/a", cast("JSONLike", value))
    assert caught.value.reason is Reason.INVALID_JSON


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[JSON] = []
    loop.append(loop)
    with pytest.raises(Invalid) as caught:
        encode(loop)
    assert caught.value.reason is Reason.TOO_DEEP


def test_an_operation_keeps_the_value_of_its_moment() -> None:
    done: list[JSON] = [1]
    operation = ops.set("/done", done)
    done.append(2)
    assert operation.value == [1]


def test_what_a_node_sends_must_be_json() -> None:
    assert decode(b"") is None
    with pytest.raises(Corrupt):
        decode(b"{")


def test_operations_travel() -> None:
    given_operations = (
        ops.set("/a", 1),
        ops.delete("/a~1b/~0"),
        ops.merge("", {"a": None}),
        ops.append("/list", "x"),
        ops.insert("/list/0", [1.5]),
        ops.increment("/n"),
        ops.increment("/n", -2.5),
        ops.replace({}),
    )
    mutation = tallystick.Mutation.of(*given_operations, cause="tool:1", trace_id="t", schema_version=3)
    message = state_pb2.Mutation.FromString(_convert.mutation_message(mutation).SerializeToString())
    assert _convert.mutation(message) == mutation
    assert [operation.value for operation in mutation.operations] == [1, None, {"a": None}, "x", [1.5], 1, -2.5, {}]


@pytest.mark.parametrize("path", ["a", "/a~", "/a~2b", "a/b"])
def test_a_path_is_a_pointer(path: str) -> None:
    with pytest.raises(Invalid) as caught:
        ops.delete(path)
    assert caught.value.reason is Reason.INVALID_POINTER


def test_an_increment_is_a_number() -> None:
    with pytest.raises(Invalid):
        ops.increment("/n", by=True)
    with pytest.raises(Invalid):
        ops.increment("/n", by=math.nan)


def test_an_operation_from_the_future_is_not_guessed() -> None:
    message = state_pb2.Operation(path="/a")
    with pytest.raises(Corrupt):
        _convert.operation(message)
    with pytest.raises(Corrupt):
        _convert.event(state_pb2.WatchEvent())


@pytest.mark.parametrize("kind", ["", "state"])
def test_an_event_is_of_its_own_kind(kind: str) -> None:
    with pytest.raises(Invalid):
        tallystick.Mutation.event(kind, {})


def test_a_revision_is_written_and_parsed() -> None:
    assert str(tallystick.Revision(1, 4711)) == "1.4711"
    assert tallystick.Revision.parse("1.4711") == tallystick.Revision(1, 4711)
    for text in ("", "1", "1.", ".1", "1.-1", "1.1.1", "a.b", "\u0661.1"):
        with pytest.raises(Invalid):
            tallystick.Revision.parse(text)


def test_times_are_aware_and_milliseconds_round_down() -> None:
    time = datetime(2024, 5, 6, 7, 8, 9, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert to_time(to_unix_ms(time)) == time.replace(microsecond=123_000)
    for bad in (datetime(2024, 1, 1), datetime(1969, 12, 31, tzinfo=UTC)):  # noqa: DTZ001 - naive is the point
        with pytest.raises(Invalid):
            to_unix_ms(bad)


@pytest.mark.parametrize(
    ("text", "address"),
    [("h:1", "h:1"), (" h ", "h:7420"), ("[::1]:80", "[::1]:80"), ("[::1]", "[::1]:7420"), ("h:007420", "h:7420")],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":1", "h:", "h:0", "h:65536", "h:x", "::1", "a b:1", "h:-1", "h:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Invalid):
        parse_address(text)


@pytest.mark.parametrize("endpoints", ["", ",", [], [f"h:{port}" for port in range(1, 40)]], ids=str)
def test_a_client_needs_some_endpoints(endpoints: str | list[str]) -> None:
    with pytest.raises(Invalid):
        tallystick.connect(endpoints, namespace="demo")


def test_tls_needs_both_or_neither(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        tallystick.TLS(ca=b"ca", cert=b"cert").credentials()
    with pytest.raises(FileNotFoundError):
        tallystick.TLS(ca=tmp_path / "none.pem").credentials()
    assert "secret" not in repr(tallystick.TLS(ca=b"ca", cert=b"cert", key=b"secret"))


def test_a_session_only_rises() -> None:
    session = Session()
    for group, position in ((1, 5), (2, 1), (1, 3), (1, 6)):
        session.saw(common_pb2.Revision(group=group, position=position))
    assert session.revisions() == (tallystick.Revision(1, 6), tallystick.Revision(2, 1))
    options = session.read_options(tallystick.Consistency.SESSION)
    assert [(revision.group, revision.position) for revision in options.session] == [(1, 6), (2, 1)]
    session.saw(tallystick.Revision(2, 2))
    assert session.read_options(tallystick.Consistency.SESSION).session[1].position == 2
    assert not session.read_options(tallystick.Consistency.LOCAL).session


def test_a_session_is_bounded() -> None:
    session = Session()
    for group in range(MAX_GROUPS + 5):
        session.saw(tallystick.Revision(group, 1))
    assert len(session.revisions()) == MAX_GROUPS
    assert session.revisions()[0].group == 5


def test_the_first_page_of_the_docs_is_all_there() -> None:
    assert all(hasattr(tallystick, name) for name in tallystick.__all__)
    assert tallystick.__doc__ is not None
