"""What schemas say of a value, as far as `compatibility.py` wants to know it.

Rules of this file:
- What is said of the old side is true of every value that it allows; nothing is said rather than something that may be
  wrong.
- Numbers are compared as numbers, everything else as canonical JSON: to Python, `true` equals 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

from tallystick_node.core.values import JsonObject, JsonValue, canonical_json
from tallystick_node.schemas.documents import place, target, with_subschemas
from tallystick_node.schemas.validators import compile_document

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

Number: TypeAlias = int | float

TYPES: Final = frozenset(("null", "boolean", "object", "array", "integer", "number", "string"))
"""`number` stands for numbers that are no integers here: so each value has one type."""

_FOR: Final = {
    "dependentRequired": "object",
    "dependentSchemas": "object",
    "contains": "array",
}
_NOT_OWN: Final = frozenset(("$ref", "allOf", "$defs", "unevaluatedItems", "unevaluatedProperties"))
_NUMBERS: Final = frozenset(("integer", "number"))
_LISTED_TYPES: Final = {"null": (None,), "boolean": (False, True)}


class Side:
    """One document: what its references lead to, and which values its schemas allow."""

    def __init__(self, root: JsonValue) -> None:
        self._root: JsonObject = root if isinstance(root, dict) else {}
        self._validators: dict[bytes, Draft202012Validator] = {}

    def parts(self, schema: JsonValue) -> Iterator[JsonValue]:
        """The schemas that all hold where this one does: its own keywords, what it refers to, each of `allOf`."""
        return (part for _, part in self.placed_parts(schema, ""))

    def placed_parts(self, schema: JsonValue, path: str) -> Iterator[tuple[str, JsonValue]]:
        """The same, each with where it stands in the document; `path`: of the schema."""
        yield path, schema
        if not isinstance(schema, dict):
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield from self.placed_parts(target(self._root, reference), place(reference))
        for at, each in enumerate(_list(schema, "allOf")):
            yield from self.placed_parts(each, f"{path}/allOf/{at}")

    def validator(self, schema: JsonValue) -> Draft202012Validator:
        """Of one schema of this document."""
        text = canonical_json(schema)
        if text not in self._validators:
            definitions = named(self._root, "$defs")
            whole = "document"
            while whole in definitions:
                whole += "_"
            again = f"#/$defs/{whole}"
            defined = {name: _renamed(each, again) for name, each in {**definitions, whole: self._root}.items()}
            alone: JsonObject = {"$defs": defined, "allOf": [_renamed(schema, again)]}
            self._validators[text] = compile_document(alone)
        return self._validators[text]

    def is_judged_whole(self, schema: JsonValue) -> bool:
        """Whether what it says depends on what other keywords looked at."""
        return any(
            isinstance(part, dict) and ("unevaluatedItems" in part or "unevaluatedProperties" in part)
            for part in self.parts(schema)
        )

    def shares_definitions(self, other: Side) -> bool:
        """Whether equal references mean the same in both: what they lead to is equal."""
        if is_equal(self._root, other._root):
            return True
        roots = (self._root, other._root)
        return is_equal(*(root.get("$defs") for root in roots)) and not any(
            b'"$ref":"#"' in canonical_json(root) for root in roots
        )

    def are_disjoint(self, schemas: Sequence[JsonValue]) -> bool:
        """Whether it can be told that no value is allowed by two of them."""
        known = [Known.of(self, [schema]) for schema in schemas]
        return all(_are_apart(one, other) for at, one in enumerate(known) for other in known[at + 1 :])


@dataclass(frozen=True)
class Known:
    """What is known of a value: all of these schemas hold."""

    side: Side
    schemas: tuple[JsonValue, ...]

    @classmethod
    def of(cls, side: Side, schemas: Sequence[JsonValue]) -> Known:
        """What these schemas say, with all that they refer to."""
        parts = [_own(part) for schema in schemas for part in side.parts(schema)]
        distinct = {canonical_json(part): part for part in parts if part is not True and part != {}}
        return cls(side, tuple(distinct.values()))

    @cached_property
    def objects(self) -> list[JsonObject]:
        """The schemas that say something."""
        return [schema for schema in self.schemas if isinstance(schema, dict)]

    @cached_property
    def types(self) -> frozenset[str]:
        """Of which types the value may be."""
        types = TYPES
        for schema in self.objects:
            types &= types_of(schema)
        return types

    @property
    def is_empty(self) -> bool:
        """No value is allowed, as far as can be told."""
        return False in self.schemas or not self.types

    @cached_property
    def listed(self) -> list[JsonValue] | None:
        """All values that it may be, and maybe more; None: they are not listed."""
        for schema in self.objects:
            if "const" in schema:
                return [schema["const"]]
            if "enum" in schema:
                return _list(schema, "enum")
        if self.types <= _LISTED_TYPES.keys():
            return [value for type_ in sorted(self.types) for value in _LISTED_TYPES[type_]]
        return None

    def cases(self) -> list[list[JsonValue]]:
        """What is known in each of some cases, one of which holds; none: there is nothing to tell apart by."""
        for at, schema in enumerate(self.objects):
            for keyword in ("anyOf", "oneOf"):
                branches = _list(schema, keyword)
                if branches:
                    rest = {name: each for name, each in schema.items() if name != keyword}
                    others = [each for number, each in enumerate(self.objects) if number != at]
                    return [[*others, rest, branch] for branch in branches]
        if 1 < len(self.types) < len(TYPES) and not self.types <= _NUMBERS:
            kinds = sorted({"number" if each in _NUMBERS and self.types >= _NUMBERS else each for each in self.types})
            return [[*self.objects, {"type": each}] for each in kinds]
        return []

    def matters(self, keyword: str) -> bool:
        """Whether the value may be of the type that a keyword is for."""
        return _FOR.get(keyword) is None or _FOR[keyword] in self.types

    def under(self, keyword: str) -> list[JsonValue]:
        """The schemas that stand under a keyword."""
        return [schema[keyword] for schema in self.objects if keyword in schema]

    def limit(self, keyword: str, *, is_lower: bool) -> Number | None:
        """The tightest of the numbers under a keyword."""
        numbers = [each for each in self.under(keyword) if _is_number(each)]
        found = [each for each in numbers if isinstance(each, (int, float))]
        return (max(found) if is_lower else min(found)) if found else None

    @cached_property
    def required(self) -> frozenset[str]:
        """The properties that are there."""
        return frozenset(
            each
            for names in self.under("required")
            if isinstance(names, list)
            for each in names
            if isinstance(each, str)
        )

    @cached_property
    def property_names(self) -> frozenset[str]:
        """The properties that are named."""
        return frozenset(name for schema in self.objects for name in named(schema, "properties"))

    @cached_property
    def patterns(self) -> frozenset[str]:
        """The patterns of properties that are named."""
        return frozenset(name for schema in self.objects for name in named(schema, "patternProperties"))

    @property
    def is_closed(self) -> bool:
        """No property is allowed but those that are named."""
        return any(
            schema.get("additionalProperties") is False and not named(schema, "patternProperties")
            for schema in self.objects
        )

    def property(self, name: str) -> list[JsonValue]:
        """What is known of what a property holds."""
        found: list[JsonValue] = []
        for schema in self.objects:
            properties = named(schema, "properties")
            if name in properties:
                found.append(properties[name])
            elif "additionalProperties" in schema and not named(schema, "patternProperties"):
                found.append(schema["additionalProperties"])
        return found

    def pattern(self, pattern: str) -> list[JsonValue]:
        """What is known of what a property holds whose name fits a pattern."""
        return [
            patterns[pattern] for schema in self.objects if pattern in (patterns := named(schema, "patternProperties"))
        ]

    def other_properties(self) -> list[JsonValue]:
        """What is known of what a property holds that is not named, nor fits a pattern."""
        return self.under("additionalProperties")

    @cached_property
    def most_items(self) -> Number:
        """How many items there are at most."""
        limit = self.limit("maxItems", is_lower=False)
        return math.inf if limit is None else limit

    @cached_property
    def named_items(self) -> int:
        """How many items have a schema of their own."""
        return max((len(_list(schema, "prefixItems")) for schema in self.objects), default=0)

    def item(self, at: int) -> list[JsonValue]:
        """What is known of an item; behind the named ones, of any further one."""
        found: list[JsonValue] = []
        for schema in self.objects:
            first = _list(schema, "prefixItems")
            if at < len(first):
                found.append(first[at])
            elif "items" in schema:
                found.append(schema["items"])
        return found


def missing_limits(known: Known, new: JsonObject) -> Iterator[tuple[str, str]]:
    """The keywords of `new` about one value itself that do not follow, with why."""
    if known.types & _NUMBERS:
        yield from _missing_bounds(known, new)
        yield from _missing_multiple(known, new)
    if "string" in known.types:
        yield from _missing_counts(known, new, "minLength", "maxLength", 0)
        if "pattern" in new and new["pattern"] not in known.under("pattern"):
            yield "pattern", "other texts were allowed"
    if "array" in known.types:
        yield from _missing_counts(known, new, "minItems", "maxItems", 0)
        if new.get("uniqueItems") is True and True not in known.under("uniqueItems") and known.most_items > 1:
            yield "uniqueItems", "equal items were allowed"
    if "object" in known.types:
        yield from _missing_counts(known, new, "minProperties", "maxProperties", len(known.required))
        lost = [name for name in _list(new, "required") if name not in known.required]
        if lost:
            yield "required", f"{', '.join(str(name) for name in lost[:5])} could be left out"


def types_of(schema: JsonObject) -> frozenset[str]:
    """Of which types a value may be, as far as `type`, `const` and `enum` say."""
    types = TYPES
    if "type" in schema:
        said = schema["type"]
        words = {each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)}
        types = frozenset(words | {"integer"}) if "number" in words else frozenset(words)
    values = [schema["const"]] if "const" in schema else _list(schema, "enum") if "enum" in schema else None
    return types if values is None else types & {_type(value) for value in values}


def named(schema: JsonObject, keyword: str) -> JsonObject:
    """The schemas under a keyword, by name."""
    found = schema.get(keyword)
    return found if isinstance(found, dict) else {}


def is_equal(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are written alike."""
    return canonical_json(one) == canonical_json(other)


def refers(schema: JsonValue) -> bool:
    """Whether a reference stands in it anywhere."""
    return b'"$ref"' in canonical_json(schema)


def _own(schema: JsonValue) -> JsonValue:
    """Without what `parts` has of its own, and what depends on that."""
    if not isinstance(schema, dict):
        return schema
    return {name: each for name, each in schema.items() if name not in _NOT_OWN}


def _renamed(schema: JsonValue, whole: str) -> JsonValue:
    """With this reference in place of `#`; what `enum` and `const` list are values, and stay as they are."""
    if not isinstance(schema, dict):
        return schema
    changed = with_subschemas(schema, lambda each: _renamed(each, whole))
    return {**changed, "$ref": whole} if changed.get("$ref") == "#" else changed


def _missing_bounds(known: Known, new: JsonObject) -> Iterator[tuple[str, str]]:
    for keyword, exclusive, is_lower in (
        ("minimum", "exclusiveMinimum", True),
        ("maximum", "exclusiveMaximum", False),
    ):
        sign = 1 if is_lower else -1
        closed = known.limit(keyword, is_lower=is_lower)
        open_ = known.limit(exclusive, is_lower=is_lower)
        closed = None if closed is None else sign * closed
        open_ = None if open_ is None else sign * open_
        wanted, beyond = new.get(keyword), new.get(exclusive)
        if isinstance(wanted, (int, float)) and not (
            (closed is not None and closed >= sign * wanted) or (open_ is not None and open_ >= sign * wanted)
        ):
            yield keyword, "smaller numbers were allowed" if is_lower else "larger numbers were allowed"
        if isinstance(beyond, (int, float)) and not (
            (closed is not None and closed > sign * beyond) or (open_ is not None and open_ >= sign * beyond)
        ):
            yield exclusive, "smaller numbers were allowed" if is_lower else "larger numbers were allowed"


def _missing_multiple(known: Known, new: JsonObject) -> Iterator[tuple[str, str]]:
    wanted = new.get("multipleOf")
    if not isinstance(wanted, (int, float)) or (wanted == 1 and "number" not in known.types):
        return
    for had in known.under("multipleOf"):
        if had == wanted or (isinstance(had, int) and isinstance(wanted, int) and had % wanted == 0):
            return
    yield "multipleOf", "other numbers were allowed"


def _missing_counts(known: Known, new: JsonObject, least: str, most: str, implied: int) -> Iterator[tuple[str, str]]:
    fewest, largest = new.get(least), new.get(most)
    had = known.limit(least, is_lower=True)
    if isinstance(fewest, (int, float)) and max(implied, had or 0) < fewest:
        yield least, "fewer were allowed" if least != "minLength" else "shorter texts were allowed"
    had = known.limit(most, is_lower=False)
    if isinstance(largest, (int, float)) and (had is None or had > largest):
        yield most, "more were allowed" if most != "maxLength" else "longer texts were allowed"


def _are_apart(one: Known, other: Known) -> bool:
    """Whether it can be told that no value is both: by its type, or by what a property that both demand holds."""
    if not one.types & other.types or _are_listed_apart(one, other):
        return True
    return one.types == other.types == {"object"} and any(
        _are_listed_apart(Known.of(one.side, one.property(name)), Known.of(other.side, other.property(name)))
        for name in one.required & other.required
    )


def _are_listed_apart(one: Known, other: Known) -> bool:
    if one.listed is None or other.listed is None:
        return False
    return not any(_is_same_value(value, each) for value in one.listed for each in other.listed)


def _is_same_value(one: JsonValue, other: JsonValue) -> bool:
    if _is_number(one) and _is_number(other):
        return one == other
    if isinstance(one, (dict, list)) and isinstance(other, (dict, list)):
        return True  # numbers in them may be written differently: not to be told apart
    return is_equal(one, other)


def _type(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list(schema: JsonObject, keyword: str) -> list[JsonValue]:
    found = schema.get(keyword)
    return found if isinstance(found, list) else []
