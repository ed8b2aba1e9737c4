"""Which changes of a schema are shown to allow all that was allowed, and which are not."""

from __future__ import annotations

import pytest

from tallystick_node.core.values import JsonObject, JsonValue
from tallystick_node.schemas.compatibility import incompatibilities

S: JsonObject = {"type": "string"}
I: JsonObject = {"type": "integer"}  # noqa: E741
OPEN: JsonObject = {"type": "object", "properties": {"a": I}, "required": ["a"]}
CLOSED: JsonObject = {**OPEN, "additionalProperties": False}
TREE: JsonObject = {
    "$defs": {"node": {"type": "object", "properties": {"v": I, "next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


def closed(**properties: JsonValue) -> JsonObject:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def tree(value: JsonObject) -> JsonObject:
    return {
        "$defs": {"node": {"type": "object", "properties": {"v": value, "next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    }


def tagged(keyword: str, **kinds: JsonObject) -> JsonObject:
    return {
        keyword: [
            {"type": "object", "properties": {"kind": {"const": kind}, "x": x}, "required": ["kind"]}
            for kind, x in kinds.items()
        ]
    }


SHOWN: list[tuple[JsonObject, JsonObject]] = [
    ({}, {}),
    ({"type": "integer"}, {"type": "number"}),
    ({"type": "integer"}, {"type": ["integer", "string"]}),
    ({"type": "integer"}, {"multipleOf": 1}),
    ({"minimum": 2, "type": "integer"}, {"minimum": 1}),
    ({"exclusiveMinimum": 1}, {"minimum": 1}),
    ({"maximum": 3.5}, {"exclusiveMaximum": 4}),
    ({"multipleOf": 6}, {"multipleOf": 3}),
    ({"type": "integer"}, {"minLength": 4}),
    ({"type": "string", "pattern": "^a"}, {"pattern": "^a", "title": "said to people"}),
    ({"enum": [1, 2]}, {"enum": [2, 1, "x"]}),
    ({"const": {"$ref": "#"}}, {"enum": [{"$ref": "#"}, 1]}),
    ({"enum": [1, 5], "maximum": 3}, {"const": 1}),
    ({"const": "a"}, {"type": "string", "maxLength": 1}),
    ({"type": "boolean"}, {"enum": [False, True, None]}),
    (OPEN, {"type": "object", "properties": {"a": {"type": "number"}}}),
    (CLOSED, {**CLOSED, "properties": {"a": I, "b": S}}),
    (CLOSED, OPEN),
    (closed(a=I, b=I), {"additionalProperties": I}),
    (closed(a=I), {"patternProperties": {"^a": I}}),
    ({"patternProperties": {"^a": I}}, {"patternProperties": {"^a": {"type": "number"}}}),
    (closed(a=I), {"propertyNames": {"maxLength": 1}}),
    ({"required": ["a", "b"]}, {"minProperties": 2}),
    ({"type": "array", "items": I, "maxItems": 2}, {"items": {"type": "number"}, "maxItems": 3}),
    ({"type": "array", "prefixItems": [S, I], "items": I}, {"prefixItems": [S], "items": {"type": "number"}}),
    ({"type": "array", "maxItems": 1}, {"uniqueItems": True}),
    ({"anyOf": [S, {"type": "null"}]}, {"anyOf": [S, I, {"type": "null"}]}),
    ({"type": ["string", "null"]}, {"anyOf": [S, {"type": "null"}]}),
    ({"anyOf": [{"const": 1}, {"const": 2}]}, {"enum": [1, 2, 3]}),
    ({"allOf": [{"type": "object"}, {"required": ["a"]}]}, {"type": "object", "required": ["a"]}),
    (tagged("oneOf", a=I, b=S), tagged("oneOf", a=I, b=S, c=S)),
    (tagged("anyOf", a=I), tagged("oneOf", a={"type": "number"}, b=S)),
    (tree(I), tree({"type": "number"})),
    (TREE, {"type": "object", "properties": {"next": {"type": "object"}}}),
    ({"properties": {"c": {"$ref": "#"}, "v": I}}, {"properties": {"c": {"$ref": "#"}, "v": {"type": "number"}}}),
    ({"if": I, "then": {"minimum": 1}, "type": "integer"}, {"if": I, "then": {"minimum": 1}}),
    ({"not": S, "type": "integer"}, {"not": S}),
    ({"type": "object", "unevaluatedProperties": False}, {"type": "object", "unevaluatedProperties": False}),
    ({"format": "date"}, {"format": "email"}),
]

NOT_SHOWN: list[tuple[JsonObject, JsonObject, str, str]] = [
    ({}, {"type": "object"}, "", "type"),
    ({"type": "number"}, {"type": "integer"}, "", "type"),
    ({"minimum": 1}, {"minimum": 2}, "", "minimum"),
    ({"minimum": 1}, {"exclusiveMinimum": 1}, "", "exclusiveMinimum"),
    ({"maximum": 3}, {"maximum": 2}, "", "maximum"),
    ({"multipleOf": 3}, {"multipleOf": 6}, "", "multipleOf"),
    ({"type": "string"}, {"minLength": 1}, "", "minLength"),
    ({"type": "string", "pattern": "^a"}, {"pattern": "^b"}, "", "pattern"),
    ({"enum": [1, 2]}, {"enum": [1]}, "", "enum"),
    ({"const": {"$ref": "#/$defs/document"}}, {"enum": [{"$ref": "#"}]}, "", "enum"),
    ({"const": True}, {"const": 1}, "", "enum"),
    ({"type": "string"}, {"const": "a"}, "", "const"),
    (OPEN, {**OPEN, "required": ["a", "b"]}, "", "required"),
    (OPEN, {**OPEN, "properties": {"a": I, "b": S}}, "/properties/b", "type"),
    (OPEN, CLOSED, "/additionalProperties", "false"),
    (closed(a=I, b=S), closed(a=I), "/additionalProperties", "false"),
    (closed(a=I), {"properties": {"a": S}}, "/properties/a", "type"),
    (closed(a=I), {"patternProperties": {"^b": S}}, "/patternProperties/^b", "type"),
    (closed(ab=I), {"propertyNames": {"maxLength": 1}}, "/propertyNames", "enum"),
    ({"type": "array", "items": S}, {"items": I}, "/items", "type"),
    ({"type": "array", "prefixItems": [S]}, {"prefixItems": [S, I]}, "/prefixItems/1", "type"),
    ({"type": "array", "prefixItems": [S]}, {"items": S}, "/items", "type"),
    ({"type": "array"}, {"uniqueItems": True}, "", "uniqueItems"),
    ({"anyOf": [S, I]}, {"anyOf": [S, {"type": "null"}]}, "", "anyOf"),
    ({"anyOf": [S, I]}, {"oneOf": [{"type": ["string", "integer"]}, I]}, "", "oneOf"),
    (tree({"type": "number"}), tree(I), "/$defs/node/properties/v", "type"),
    ({"type": "object"}, {"not": {"required": ["a"]}}, "", "not"),
    ({"type": "array"}, {"contains": S}, "", "contains"),
    ({}, {"if": S, "then": {"minLength": 1}}, "", "if"),
    ({"type": "object"}, {"unevaluatedProperties": False}, "", "unevaluated"),
    (
        {"const": {"a": 1}, "allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        {"const": {"a": 2}},
        "",
        "enum",
    ),
    ({"patternProperties": {"^a": S}, "additionalProperties": I}, {"properties": {"ab": I}}, "/properties/ab", "type"),
    ({"allOf": [S, {"anyOf": [{"minLength": 1}, {"maxLength": 1}]}]}, {"minLength": 1}, "", "minLength"),
]


@pytest.mark.parametrize(("old", "new"), SHOWN)
def test_shown(old: JsonObject, new: JsonObject) -> None:
    assert incompatibilities(old, new) == []


@pytest.mark.parametrize(("old", "new", "path", "rule"), NOT_SHOWN)
def test_not_shown(old: JsonObject, new: JsonObject, path: str, rule: str) -> None:
    first = incompatibilities(old, new)[0]
    assert (first.path, first.rule) == (path, rule)


def test_a_document_allows_what_it_allowed() -> None:
    for document in [old for old, _ in SHOWN] + [old for old, *_ in NOT_SHOWN]:
        assert incompatibilities(document, document) == []


def test_what_was_assumed_of_a_failed_proof_is_forgotten() -> None:
    """While `a` is looked at, `b` follows from it. `a` fails, no matter, where anything is allowed; then `b` does not
    follow either."""

    def document(number: JsonObject, **one: JsonValue) -> JsonObject:
        return {
            "$defs": {
                "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}, "v": number}},
                "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
            },
            "type": "object",
            "properties": {"one": dict(one), "two": {"$ref": "#/$defs/b"}},
        }

    old = document({"type": "number"}, **{"$ref": "#/$defs/a"})
    new = document(I, anyOf=[{"$ref": "#/$defs/a"}, {}])
    assert [each.path for each in incompatibilities(old, new)] == ["/$defs/a/properties/v"]


def test_the_comparison_is_bounded() -> None:
    wide: JsonObject = {"anyOf": [{"properties": {f"p{at}": I}} for at in range(100)]}
    deep: JsonObject = {"allOf": [dict(wide) for _ in range(5)]}
    assert incompatibilities(deep, {"properties": {"other": S}}) != []


def circle(links: int, name: str) -> JsonObject:
    """A list whose nodes are of so many kinds in turn."""
    nodes: JsonObject = {
        f"{name}{at}": {"properties": {"next": {"$ref": f"#/$defs/{name}{(at + 1) % links}"}}} for at in range(links)
    }
    return {"$defs": nodes, "$ref": f"#/$defs/{name}0"}


def test_what_is_too_deep_or_too_much_is_not_shown_and_said_so() -> None:
    """Two circles meet in the same pair after so many steps as the product of their lengths."""
    assert incompatibilities(circle(9, "a"), circle(10, "b")) == []
    (deep,) = incompatibilities(circle(30, "a"), circle(31, "b"))
    assert "too large" in deep.message
    wide: JsonObject = {"properties": {f"p{at}": {"$ref": "#"} for at in range(2000)}}
    large = incompatibilities(wide, {**wide, "title": "another"})
    assert {each.message for each in large} == {"the documents are too large to be compared"}
