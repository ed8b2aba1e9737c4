"""What is shown of two documents holds of values: none that the old one allows is refused by the new one.

Documents are drawn from a grammar that is full of near misses: the new one is the old one, changed in a few places.
"""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.errors import Invalid
from tallystick_node.core.values import JsonObject, JsonValue, canonical_json
from tallystick_node.schemas.compatibility import incompatibilities
from tallystick_node.schemas.documents import admit
from tallystick_node.schemas.telling import telling
from tallystick_node.schemas.validators import compile_document

NAMES = ("a", "b", "ab")
TYPES = ("null", "boolean", "object", "array", "integer", "number", "string")
VALUES = 60
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def value(dice: random.Random, depth: int = 3) -> JsonValue:
    """Small values, of every type, that often are near each other."""
    kind = dice.choice(TYPES if depth else TYPES[4:])
    match kind:
        case "null":
            return None
        case "boolean":
            return dice.random() < 0.5
        case "object":
            return {name: value(dice, depth - 1) for name in NAMES if dice.random() < 0.5}
        case "array":
            return [value(dice, depth - 1) for _ in range(dice.randrange(4))]
        case "integer":
            return dice.choice((0, 1, 2, 3))
        case "number":
            return dice.choice([0.5, 1.5, 2.5])
        case _:
            return dice.choice(["", "a", "ab", "b"])


def schema(dice: random.Random, depth: int = 2) -> JsonValue:
    """A schema of a few keywords."""
    if not depth or dice.random() < 0.1:
        leaves: list[JsonValue] = [True, {}, {"type": dice.choice(TYPES)}, {"$ref": "#/$defs/d"}, {"type": "integer"}]
        return dice.choice([*leaves, False])
    found: JsonObject = {}
    for _ in range(dice.randint(1, 3)):
        found.update(keyword(dice, depth))
    return found


def keyword(dice: random.Random, depth: int) -> JsonObject:
    """One keyword, or two that belong together."""

    def below() -> JsonValue:
        return schema(dice, depth - 1)

    count = dice.randrange(4)
    plain: list[JsonObject] = [
        {"type": dice.choice(TYPES)},
        {"type": [*sorted(dice.sample(TYPES, 2))]},
        {"const": value(dice, 1)},
        {"enum": [value(dice, 1) for _ in range(3)]},
        {dice.choice(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]): count},
        {"multipleOf": dice.choice([1, 2, 0.5])},
        {dice.choice(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]): count},
        {"pattern": dice.choice(["^a", "b$"])},
        {"uniqueItems": True},
        {"required": [dice.choice(NAMES)]},
        {"dependentRequired": {"a": ["b"]}},
    ]
    nested: list[JsonObject] = [
        {"properties": {name: below() for name in dice.sample(NAMES, 2)}},
        {"properties": {name: below() for name in dice.sample(NAMES, 2)}, "additionalProperties": below()},
        {"patternProperties": {dice.choice(["^a", "b$"]): below()}},
        {"additionalProperties": below()},
        {"propertyNames": below()},
        {"items": below()},
        {"prefixItems": [below() for _ in range(dice.randint(1, 2))]},
        {"contains": below()},
        {"not": below()},
        {"if": below(), "then": below()},
        {dice.choice(["allOf", "anyOf", "oneOf"]): [below() for _ in range(2)]},
        {"$ref": "#/$defs/d"},
        {"unevaluatedProperties": below()},
        {"dependentSchemas": {"a": below()}},
    ]
    return dice.choice(dice.choice([plain, nested]))


def changed(dice: random.Random, node: JsonValue, rate: float) -> JsonValue:
    """Here and there something else."""
    if isinstance(node, dict):
        kept = {name: changed(dice, each, rate) for name, each in node.items() if dice.random() > rate}
        return {**kept, **keyword(dice, 1)} if dice.random() < rate and "type" in node else kept
    if isinstance(node, list):
        return [changed(dice, each, rate) for each in node] or node
    if isinstance(node, bool) or not isinstance(node, int) or dice.random() > 2 * rate:
        return node
    return max(0, node + dice.choice([-1, 1]))


def document(dice: random.Random) -> JsonObject:
    return {"$defs": {"d": schema(dice, 1)}, "allOf": [schema(dice)]}


def is_admitted(root: JsonValue) -> bool:
    try:
        assert isinstance(root, dict)
        admit(canonical_json(root))
        compile_document(root)
    except Invalid:
        return False
    return True


def pair(dice: random.Random) -> tuple[JsonObject, JsonObject] | None:
    old = document(dice)
    new = changed(dice, old, dice.choice([0.02, 0.1])) if dice.random() < 0.8 else document(dice)
    return (old, new) if isinstance(new, dict) and is_admitted(old) and is_admitted(new) else None


@given(st.integers(0, 2**32))
@SETTINGS
def test_what_is_shown_holds(seed: int) -> None:
    dice = random.Random(seed)
    documents = pair(dice)
    if documents is None or incompatibilities(*documents):
        return
    old, new = (compile_document(each) for each in documents)
    for _ in range(VALUES):
        drawn = value(dice)
        assert not old.is_valid(drawn) or new.is_valid(drawn), (documents, drawn)


@given(st.integers(0, 2**32))
@SETTINGS
def test_what_tells_why_a_value_is_not_valid_allows_the_same(seed: int) -> None:
    dice = random.Random(seed)
    root = document(dice)
    if not is_admitted(root):
        return
    checks, tells = compile_document(root), compile_document(telling(root))
    for _ in range(VALUES):
        drawn = value(dice)
        assert checks.is_valid(drawn) == tells.is_valid(drawn), (root, drawn)


def test_the_documents_are_of_some_use() -> None:
    """Fails when the dice no longer lead to what the property is about."""
    shown = refuted = 0
    for seed in range(200):
        dice = random.Random(seed)
        documents = pair(dice)
        if documents is None:
            continue
        old, new = (compile_document(each) for each in documents)
        is_shown = not incompatibilities(*documents)
        drawn = [value(dice) for _ in range(VALUES)]
        is_refuted = any(old.is_valid(each) and not new.is_valid(each) for each in drawn)
        assert not (is_shown and is_refuted)
        shown += is_shown and documents[0] != documents[1] and any(old.is_valid(each) for each in drawn)
        refuted += is_refuted
    assert shown > 10
    assert refuted > 10
