"""What a document is shown as, from its roots as they lie: nothing that another program wrote makes it fail."""

from __future__ import annotations

import math

import pytest

from tallystick.contexts.views.shapes import Kind, shape, shape_document


def test_document_is_shown_by_the_kinds_it_records() -> None:
    roots = {
        "tallystick": {"roots/c": "counter", "roots/s": "set", "roots/r": "register", "roots/b": "board", "x": 1},
        "c": {"1": 2, "9": 3.5},
        "s": {'"a"#1': True, '"a"#2': True, "1#1": True},
        "r": {"1": [5, 0, "one"], "2": [5, 1, "two"]},
        "b": {"t/status": "open", "t/a/b": 1, "u": 2},
        "m": {"k": [b"x", {"n": math.inf}]},
        "t": "text",
        "tallystick-of-somebody": 1,
    }
    assert shape_document(roots) == {
        "b": {"t": {"a/b": 1, "status": "open"}, "u": {"": 2}},
        "c": 5.5,
        "m": {"k": [{"$bytes": "eA=="}, {"n": None}]},
        "r": {"$values": ["two", "one"]},
        "s": ["a", 1],
        "t": "text",
    }
    assert shape_document({}) == {}


@pytest.mark.parametrize(
    ("kind", "raw", "shown"),
    [
        (Kind.COUNTER, {"1": "x", "2": True, "3": None, "4": 1, "5": [2]}, 1),
        (Kind.COUNTER, {}, 0),
        (Kind.COUNTER, {"1": 1e308, "2": 1e308}, None),
        (Kind.COUNTER, {"1": 0.1, "2": 0.2, "3": 0.3}, 0.6),
        (Kind.SET, {"no element": True, "[1]#1": True, '{"a":1}#1': True, "x#1": True, "": True, "#1": True}, []),
        (Kind.SET, {"[" * 100_000 + "#1": True, "9" * 5000 + "#1": True, "1.5#2": True}, [1.5]),
        (Kind.REGISTER, {}, None),
        (Kind.REGISTER, {"x": 1, "7": ["a", "b"], "8": [1, 0, "slot"]}, {"$values": ["slot", ["a", "b"], 1]}),
        (Kind.REGISTER, {"1": [1, 0, {"a": 1}], "2": [2, 0, {"a": 1}]}, {"a": 1}),
        (Kind.MAP, [1, 2], [1, 2]),
        (Kind.LIST, {"a": 1}, {"a": 1}),
        (None, "text", "text"),
    ],
)
def test_whatever_lies_there_is_shown(kind: Kind | None, raw: object, shown: object) -> None:
    assert shape(kind, raw) == shown
