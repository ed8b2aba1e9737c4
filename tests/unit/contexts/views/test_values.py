"""What goes into a document comes out the same, or never goes in."""

from __future__ import annotations

import datetime
import enum
import math
from collections import OrderedDict
from typing import NamedTuple

import pycrdt
import pytest

from tallystick import Invalid, Reason
from tallystick.contexts.views.values import (
    KEY_BYTES,
    SAFE_INT,
    VALUE_BYTES,
    VALUE_DEPTH,
    Value,
    ValueLike,
    check_key,
    normalise,
)
from tests.unit.contexts.views.kit import Peer, exchange, pair


class Status(enum.StrEnum):
    DONE = "done"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


def _nested(depth: int) -> ValueLike:
    value: ValueLike = "deep"
    for _ in range(depth):
        value = [value]
    return value


SAME: list[Value] = [
    None, True, False, 0, 1, -1, 2**31, 2**40, SAFE_INT, -SAFE_INT, 0.5, -1e-300, 1e300, 5e18, float(2**53),
    "", "a", "é😀", "a\x00b", b"", b"abc", bytes(range(256)), [], {}, [1, 2, 3], [0, 255], [[1], [256]],
    {"a": 1, "b": {"c": [b"x", None, 1.5]}}, [b"", [], ""], {"": 1}, [5e18, 7],
]  # fmt: skip


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_value_comes_back_as_it_was(value: Value) -> None:
    here, there = pair()
    here.views.map("m")["k"] = value
    here.views.list("l").append(value)
    here.views.register("r").set(value)
    exchange(here, there)
    for peer in (here, there):
        for read in (
            peer.views.map("m")["k"],
            peer.views.map("m").to_dict()["k"],
            peer.views.list("l")[0],
            peer.views.list("l").items()[0],
            peer.views.register("r").value,
        ):
            assert read == value
            assert _types(read) == _types(value)


def _types(value: Value) -> object:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return type(value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1.0, 1),
        (-0.0, 0),
        (float(SAFE_INT), SAFE_INT),
        ((1, (2,)), [1, [2]]),
        (bytearray(b"x"), b"x"),
        (Status.DONE, "done"),
        (Level.HIGH, 3),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        ({Status.DONE: 1}, {"done": 1}),
    ],
    ids=repr,
)
def test_value_becomes_plain(value: ValueLike, read: Value) -> None:
    plain = normalise(value, "")
    assert plain == read
    assert _types(plain) == _types(read)
    peer = Peer()
    peer.views.map("m")["k"] = value
    assert peer.views.map("m")["k"] == read
    assert _types(peer.views.map("m")["k"]) == _types(read)


_HOLDS_ITSELF: list[ValueLike] = []
_HOLDS_ITSELF.append(_HOLDS_ITSELF)
_SHARED: ValueLike = "x"
for _ in range(VALUE_DEPTH - 1):
    _SHARED = [_SHARED, _SHARED]  # 2^63 values when it is walked to the end

REFUSED: list[tuple[str, object, Reason, str]] = [
    ("int above", 2**53, Reason.INVALID_VALUE, "/m/k"),
    ("int below", -(2**53), Reason.INVALID_VALUE, "/m/k"),
    ("int of many digits", 10**5000, Reason.INVALID_VALUE, "/m/k"),
    ("NaN", math.nan, Reason.INVALID_VALUE, "/m/k"),
    ("infinity", [1, -math.inf], Reason.INVALID_VALUE, "/m/k/1"),
    ("surrogate", {"a": ["\ud800"]}, Reason.INVALID_VALUE, "/m/k/a/0"),
    ("surrogate in a key", {"\udfff": 1}, Reason.INVALID_VALUE, "/m/k"),
    ("key that is an int", {"a": {1: 2}}, Reason.INVALID_VALUE, "/m/k/a"),
    ("date", {"when": datetime.date(2024, 1, 1)}, Reason.INVALID_VALUE, "/m/k/when"),
    ("set", {"a/b": {1}}, Reason.INVALID_VALUE, "/m/k/a~1b"),
    ("object", object(), Reason.INVALID_VALUE, "/m/k"),
    ("holds itself", _HOLDS_ITSELF, Reason.INVALID_VALUE, "/m/k/0"),
    ("too deep", _nested(VALUE_DEPTH + 1), Reason.TOO_DEEP, "/m/k" + "/0" * VALUE_DEPTH),
    ("too large", "x" * (VALUE_BYTES + 1), Reason.TOO_LARGE, "/m/k"),
    ("too large in UTF-8", "é" * (VALUE_BYTES // 2 + 1), Reason.TOO_LARGE, "/m/k"),
    ("too many", [None] * VALUE_BYTES, Reason.TOO_LARGE, ""),
    ("shared until it explodes", _SHARED, Reason.TOO_LARGE, ""),
]


@pytest.mark.parametrize(("value", "reason", "path"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_value_is_refused_before_anything_is_written(value: ValueLike, reason: Reason, path: str) -> None:
    peer = Peer()
    items = peer.views.list("l")
    items.append("here before")
    register = peer.views.register("r")
    written = len(peer.updates)
    with pytest.raises(Invalid) as refused:
        peer.views.map("m")["k"] = value
    assert refused.value.reason is reason
    assert refused.value.metadata["path"].startswith(path)
    with pytest.raises(Invalid):
        items.extend(["fine", value])
    with pytest.raises(Invalid):
        items[0] = value
    with pytest.raises(Invalid):
        register.set(value)
    with pytest.raises(Invalid):
        peer.views.map("m").set_many({"fine": 1, "bad": value})
    assert len(peer.updates) == written
    assert peer.views.to_json() == {"l": ["here before"]}


def test_deepest_value_that_is_taken_is_read_on_another_replica() -> None:
    here, there = pair()
    here.views.map("m")["k"] = _nested(VALUE_DEPTH)
    here.views.register("r").set(_nested(VALUE_DEPTH - 1))
    with pytest.raises(Invalid):  # a register wraps its value once
        here.views.register("r").set(_nested(VALUE_DEPTH))
    exchange(here, there)
    assert there.views.map("m")["k"] == _nested(VALUE_DEPTH)


def test_value_is_a_copy() -> None:
    peer = Peer()
    value: list[ValueLike] = [1]
    peer.views.map("m")["k"] = value
    value.append(2)
    read = peer.views.map("m")["k"]
    assert isinstance(read, list)
    read.append(3)
    assert peer.views.map("m")["k"] == [1]


@pytest.mark.parametrize(
    "key", ["\ud800", "x" * (KEY_BYTES + 1), "é" * KEY_BYTES, 1, None], ids=lambda key: repr(key)[:9]
)
def test_key_is_refused(key: str) -> None:
    peer = Peer()
    with pytest.raises(Invalid):
        check_key(key, "")
    with pytest.raises(Invalid):
        peer.views.map("m")[key] = 1
    assert not peer.updates


def test_keys_that_are_odd_but_text() -> None:
    here, there = pair()
    for key in ("", "a\x00b", "é😀", "a/b", "~", "x" * KEY_BYTES):
        here.views.map("m")[key] = key
    exchange(here, there)
    assert all(key == value for key, value in there.views.map("m").items())
    assert len(there.views.map("m")) == 6


def test_what_json_cannot_say_is_read_as_none() -> None:
    peer = Peer()
    peer.doc["m"] = pycrdt.Map({"k": math.nan})
    assert peer.views.map("m")["k"] is None
    assert peer.views.map("m").to_dict() == {"k": None}
