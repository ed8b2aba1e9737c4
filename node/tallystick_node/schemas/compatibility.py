"""Whether every value that one document allows is allowed by the next one: a proof, or why there is none.

The proof goes along the structure of both documents, and is conservative: what it cannot show counts as not allowed.
"Old" is what is known of a value: a list of schemas that all hold. "New" is what must follow from them.

Rules of this file:
- Pure: the same documents give the same answer, in bounded time (`STEPS`, `DEPTH`, `COMPARED_BYTES`).
- A constraint of the old side may be ignored, for that only knows less; one of the new side never.
- A value that the old side lists (`const`, `enum`) is looked at itself, by what checks values (`evidence.py`).
- A pair that is met again further down in a value is taken as shown: documents were admitted, so between the two the
  value was gone into (`documents.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick_node.core.values import JsonObject, JsonValue, canonical_json
from tallystick_node.schemas import evidence
from tallystick_node.schemas.documents import escaped
from tallystick_node.schemas.evidence import Known, Side
from tallystick_node.schemas.validators import PROBLEMS, Problem

STEPS: Final = 10_000
"""Pairs of schemas that are looked at; beyond that nothing is shown."""

DEPTH: Final = 100
"""The same, each within the one before."""

COMPARED_BYTES: Final = 16 * 1024 * 1024
"""Of all that is compared: parts that are referred to are looked at again and again."""

_SIDE_BY_SIDE: Final = ("not", "dependentSchemas", "dependentRequired")
_TOGETHER: Final = (("if", "then", "else"), ("contains", "minContains", "maxContains"))


def incompatibilities(old: JsonValue, new: JsonValue) -> list[Problem]:
    """Why it cannot be shown that `new` allows what `old` does, the first `PROBLEMS` reasons; none: it is shown.

    Both are admitted documents. A problem's path leads into the new one.

    Example:
        >>> incompatibilities({"type": "integer"}, {"type": "number"})
        []
        >>> [each.rule for each in incompatibilities({"type": "object"}, {"type": "object", "required": ["a"]})]
        ['required']
    """
    return list(dict.fromkeys(_Proof(Side(old), Side(new)).follows([old], new, "")))[:PROBLEMS]


class _Proof:
    """One comparison. Each method says what is missing from the proof that `schema` follows from what is known."""

    def __init__(self, old: Side, new: Side) -> None:
        self._old = old
        self._new = new
        self._shown: dict[tuple[bytes, ...], None] = {}
        self._not_shown: dict[tuple[bytes, ...], list[Problem]] = {}
        self._steps = self._depth = self._bytes = 0
        self._shares_definitions = old.shares_definitions(new)

    def follows(self, olds: Sequence[JsonValue], new: JsonValue, path: str) -> list[Problem]:
        """`new` follows from all of `olds`."""
        self._steps += 1
        if self._steps > STEPS or self._depth > DEPTH or self._bytes > COMPARED_BYTES:
            return [Problem(path, "$ref", "the documents are too large to be compared")]
        self._depth += 1
        try:
            return self._follows(olds, new, path)
        finally:
            self._depth -= 1

    def _follows(self, olds: Sequence[JsonValue], new: JsonValue, path: str) -> list[Problem]:
        if new is True or new == {}:
            return []
        if any(self._is_same(part, new) for old in olds for part in self._old.parts(old)):
            return []
        known = Known.of(self._old, olds)
        if known.is_empty:
            return []
        if new is False:
            return [Problem(path, "false", "nothing is allowed here any more")]
        pair = (canonical_json(new), *sorted(canonical_json(each) for each in known.schemas))
        self._bytes += sum(map(len, pair))
        if pair in self._shown:
            return []
        if pair in self._not_shown:  # at worst a no too many
            return self._not_shown[pair]
        before = len(self._shown)
        self._shown[pair] = None
        problems = self._proven(known, new, path)
        while problems and len(self._shown) > before:  # what was shown meanwhile may rest on this
            self._shown.popitem()
        if problems:
            self._not_shown[pair] = problems[:PROBLEMS]
        return problems

    def _proven(self, known: Known, new: JsonValue, path: str) -> list[Problem]:
        listed = known.listed
        if listed is not None:
            return self._each_listed(known, listed, new, path)
        if self._new.is_judged_whole(new):
            return [Problem(path, "unevaluated", "what is left unevaluated can only be compared word by word")]
        problems: list[Problem] = []
        for place, part in self._new.placed_parts(new, path):
            problems += self._all_keywords(known, part, place)
        return self._case_by_case(known, new, path, problems) if problems else []

    def _case_by_case(self, known: Known, new: JsonValue, path: str, problems: list[Problem]) -> list[Problem]:
        """What is missing in the first case in which something is; `problems`: without telling cases apart."""
        cases = known.cases()
        for case in cases:
            missing = self.follows(case, new, path)
            if missing:
                return missing
        return [] if cases else problems

    def _each_listed(self, known: Known, listed: Sequence[JsonValue], new: JsonValue, path: str) -> list[Problem]:
        allows = self._new.validator(new).is_valid
        allowed = [self._old.validator(old).is_valid for old in known.schemas]
        for value in listed:
            if not allows(value) and all(was_allowed(value) for was_allowed in allowed):
                shown = canonical_json(value).decode()[:100]
                return [Problem(path, "enum", f"{shown} was allowed")]
        return []

    def _all_keywords(self, known: Known, new: JsonValue, path: str) -> list[Problem]:
        if new is True:
            return []
        if not isinstance(new, dict):
            return [Problem(path, "false", "nothing is allowed here any more")]
        problems = self._type(known, new, path)
        if problems:
            return problems
        problems += [Problem(path, rule, why) for rule, why in evidence.missing_limits(known, new)]
        problems += self._literally(known, new, path)
        if "object" in known.types:
            problems += self._properties(known, new, path) + self._names(known, new, path)
        if "array" in known.types:
            problems += self._items(known, new, path)
        problems += self._alternatives(known, new, path)
        return problems

    def _type(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        if "const" in new or "enum" in new:
            return [Problem(path, "const" if "const" in new else "enum", "other values were allowed")]
        lost = sorted(known.types - evidence.types_of(new))
        if not lost:
            return []
        return [Problem(path, "type", f"{' and '.join(lost)} was allowed")]

    def _literally(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        """What follows only from the same words."""
        groups: list[Sequence[str]] = [(name,) for name in _SIDE_BY_SIDE if name in new]
        groups += [group for group in _TOGETHER if group[0] in new]
        return [
            Problem(path, group[0], "it was not demanded in these words")
            for group in groups
            if known.matters(group[0]) and not any(self._has_same(old, new, group) for old in known.objects)
        ]

    def _properties(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        problems: list[Problem] = []
        named, patterns = evidence.named(new, "properties"), evidence.named(new, "patternProperties")
        for name, schema in named.items():
            problems += self.follows(known.property(name), schema, f"{path}/properties/{escaped(name)}")
        for pattern, schema in patterns.items():
            at = f"{path}/patternProperties/{escaped(pattern)}"
            same = known.pattern(pattern)
            if not same or self.follows(same, schema, at):
                problems += self._every_property(known, schema, at, frozenset())
        if "additionalProperties" in new:
            at = f"{path}/additionalProperties"
            problems += self._every_property(
                known, new["additionalProperties"], at, frozenset(named), frozenset(patterns)
            )
        return problems

    def _every_property(
        self,
        known: Known,
        schema: JsonValue,
        path: str,
        but: frozenset[str],
        but_patterns: frozenset[str] = frozenset(),
    ) -> list[Problem]:
        """What any property may hold, but for those of these names and patterns."""
        for name in sorted(known.property_names - but):
            problems = self.follows(known.property(name), schema, path)
            if problems:
                return [Problem(path, each.rule, f"property {name!r}: {each.message}") for each in problems]
        for pattern in sorted(known.patterns - but_patterns):
            problems = self.follows(known.pattern(pattern), schema, path)
            if problems:
                return problems
        return self.follows(known.other_properties(), schema, path)

    def _names(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        if "propertyNames" not in new:
            return []
        at = f"{path}/propertyNames"
        if known.is_closed:
            listed: JsonValue = {"enum": [*sorted(known.property_names)]}
            return self.follows([listed], new["propertyNames"], at)
        return self.follows([{"type": "string"}, *known.under("propertyNames")], new["propertyNames"], at)

    def _items(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        first = new.get("prefixItems")
        named = first if isinstance(first, list) else []
        problems: list[Problem] = []
        for at, schema in enumerate(named):
            if at < known.most_items:
                problems += self.follows(known.item(at), schema, f"{path}/prefixItems/{at}")
        if "items" in new:
            for at in range(len(named), known.named_items):
                if at < known.most_items:
                    problems += self.follows(known.item(at), new["items"], f"{path}/items")
            if max(len(named), known.named_items) < known.most_items:
                problems += self.follows(known.item(known.named_items), new["items"], f"{path}/items")
        return problems

    def _alternatives(self, known: Known, new: JsonObject, path: str) -> list[Problem]:
        problems: list[Problem] = []
        for keyword in ("anyOf", "oneOf"):
            branches = new.get(keyword)
            if not isinstance(branches, list) or any(self._has_same(old, new, (keyword,)) for old in known.objects):
                continue
            if keyword == "oneOf" and not self._new.are_disjoint(branches):
                problems.append(Problem(path, keyword, "a value could be allowed by two of these"))
                continue
            at = [f"{path}/{keyword}/{number}" for number in range(len(branches))]
            found = (self.follows(known.schemas, each, where) for each, where in zip(branches, at, strict=True))
            if all(found):
                problems.append(Problem(path, keyword, "none of these allows all that was allowed"))
        return problems

    def _is_same(self, old: JsonValue, new: JsonValue) -> bool:
        one, other = canonical_json(old), canonical_json(new)
        self._bytes += len(one) + len(other)
        return one == other and (self._shares_definitions or not evidence.refers(new))

    def _has_same(self, old: JsonObject, new: JsonObject, group: Sequence[str]) -> bool:
        return self._is_same(_only(old, group), _only(new, group))


def _only(schema: JsonObject, keywords: Sequence[str]) -> JsonObject:
    return {name: schema[name] for name in keywords if name in schema}
