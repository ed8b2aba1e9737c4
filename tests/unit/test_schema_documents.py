"""What a schema's document may say, and what it says of values."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits
from tallystick_node.core.values import JsonObject, JsonValue
from tallystick_node.schemas import validators
from tallystick_node.schemas.documents import admit
from tallystick_node.schemas.validators import PROBLEMS, Validators, compile_document


def refused(document: JsonValue) -> str:
    """The place that a refusal names."""
    with pytest.raises(Invalid) as error:
        compile_document(orjson.loads(admit(orjson.dumps(document))))
    assert error.value.metadata["field"] == "document"
    return error.value.metadata.get("path", "none")


def doubling(levels: int) -> JsonObject:
    """Each level applies the next one twice."""
    definitions: JsonObject = {
        f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}, {"$ref": f"#/$defs/d{at + 1}"}]} for at in range(levels)
    }
    return {"$defs": {**definitions, f"d{levels}": {"type": "integer"}}, "$ref": "#/$defs/d0"}


def chain(links: int) -> JsonObject:
    definitions: JsonObject = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(links)}
    return {"$defs": {**definitions, f"d{links}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (True, ""),
        ([], ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"$id": "https://example.com/a"}, "/$id"),
        ({"properties": {"a": {"$anchor": "here"}}}, "/properties/a/$anchor"),
        ({"items": {"$dynamicRef": "#here"}}, "/items/$dynamicRef"),
        ({"$ref": "https://example.com/a"}, "/$ref"),
        ({"$ref": "file:///etc/passwd"}, "/$ref"),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, "/$ref"),
        ({"$ref": "#/$defs/missing"}, "/$ref"),
        ({"$ref": 1}, "/$ref"),
        ({"$ref": "#"}, ""),
        ({"items": {"not": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "/$defs/a"),
        (doubling(12), "/$defs/d4"),
        (chain(limits.SCHEMA_IN_PLACE_DEPTH), "/$defs/d99"),
        ({"pattern": "a" * (limits.SCHEMA_PATTERN_CHARS + 1)}, ""),
        ({"pattern": "(?=a)b"}, "/pattern"),
        ({"pattern": "(a{1000}){1000}"}, "/pattern"),
        ({"type": "text"}, "/type"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength"),
    ],
)  # fmt: skip
def test_what_reaches_out_or_may_run_for_ever_is_refused(document: JsonValue, path: str) -> None:
    assert refused(document) == path


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "said to people", "x-own": {"$id": 1}},
        {"properties": {"child": {"$ref": "#"}}},
        {"$defs": {"a/b ~c": {"type": "integer"}}, "$ref": "#/$defs/a~1b%20~0c"},
        {"enum": [{"$ref": "https://example.com/a value"}], "default": {"$id": 1}},
        doubling(6),
        chain(limits.SCHEMA_IN_PLACE_DEPTH - 2),
    ],
)
def test_the_rest_is_admitted_as_canonical_json(document: JsonObject) -> None:
    text = admit(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    assert text == orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    compile_document(orjson.loads(text))


def test_a_document_has_a_size_and_is_json() -> None:
    with pytest.raises(Invalid) as large:
        admit(orjson.dumps({"title": "t" * limits.SCHEMA_DOCUMENT_BYTES}))
    assert large.value.reason is Reason.TOO_LARGE
    with pytest.raises(Invalid) as broken:
        admit(b"{")
    assert broken.value.reason is Reason.INVALID_JSON
    assert limits.SCHEMA_APPLIED < 2**12


def test_problems_name_the_place_and_the_rule_and_stay_short() -> None:
    document = orjson.dumps({"properties": {"a/b": {"items": {"enum": [1]}}}, "additionalProperties": False})
    hash_ = hashlib.sha256(document).digest()
    checks = Validators()
    assert checks.problem(document, hash_, {"a/b": [1, 1.0]}) is None
    problem = checks.problem(document, hash_, {"a/b": [1, "x" * 100_000]})
    assert problem is not None
    assert (problem.path, problem.rule) == ("/a~1b/1", "enum")
    assert len(problem.message) < 1000
    assert len(checks.problems(document, hash_, {"a/b": ["x"] * 100})) == PROBLEMS


def tree(depth: int, leaf: JsonValue) -> JsonValue:
    return {"is": "sum", "left": tree(depth - 1, leaf), "right": {"is": "number", "value": 1}} if depth else leaf


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_what_is_wrong_far_inside_of_alternatives_is_told_at_once(keyword: str) -> None:
    """It took twice as long with each step into the value: here for ever, with the whole node."""
    both: JsonObject = {"left": {"$ref": "#/$defs/term"}, "right": {"$ref": "#/$defs/term"}}
    terms: list[JsonValue] = [
        {"required": [*both], "properties": {**both, "is": {"const": name}}} for name in ("sum", "product")
    ]
    number: JsonObject = {"required": ["value"], "properties": {"value": {"type": "number"}}}
    document = orjson.dumps(
        {"$defs": {"term": {keyword: [*terms, number]}}, "properties": {"a": {"items": {"$ref": "#/$defs/term"}}}}
    )
    checks = Validators()
    assert checks.problem(document, b"h", {"a": [tree(60, {"value": 1})]}) is None
    problem = checks.problem(document, b"h", {"a": [{"value": 1}, tree(60, {"value": "none"})]})
    assert problem is not None
    assert (problem.path, problem.rule) == ("/a/1", keyword)
    assert f"listed in the '{keyword}' keyword" in problem.message
    assert [each.path for each in checks.problems(document, b"h", {"a": [tree(60, {})]})] == ["/a/0"]


def test_of_a_large_value_the_first_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library gathers all that is wrong before it tells one: seconds for a state of a megabyte."""
    monkeypatch.setattr(validators, "islice", None)
    document = orjson.dumps({"items": {"type": "integer"}})
    large: list[JsonValue] = ["text"] * 50_000
    assert [each.path for each in Validators().problems(document, b"h", large)] == ["/0"]
    problem = Validators().problem(document, b"h", large)
    assert problem is not None
    assert problem.path == "/0"


def test_alternatives_are_told_with_what_looks_at_the_rest() -> None:
    document = orjson.dumps(
        {
            "$defs": {
                "base": {"anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"$ref": "#"}}}]}
            },
            "properties": {"c": {"$ref": "#/$defs/base", "unevaluatedProperties": False}, "d": {"type": "integer"}},
        }
    )
    problem = Validators().problem(document, b"h", {"c": {"a": 1}, "d": "text"})
    assert problem is not None
    assert (problem.path, problem.rule) == ("/d", "type")
    problem = Validators().problem(document, b"h", {"c": {"a": 1, "e": 1}})
    assert problem is not None
    assert (problem.path, problem.rule) == ("/c", "unevaluatedProperties")


def test_formats_are_said_to_people() -> None:
    document = orjson.dumps({"format": "date-time"})
    assert Validators().problem(document, b"h", "no date") is None


def test_compiled_documents_do_not_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "DOCUMENTS_KEPT", 2)
    checks = Validators()
    for number in (0, 1, 0, 2, 0, 1):
        document = orjson.dumps({"const": number})
        assert checks.problem(document, document, number) is None
        assert checks.problem(document, document, -1) is not None
    assert len(checks._compiled) == 2
