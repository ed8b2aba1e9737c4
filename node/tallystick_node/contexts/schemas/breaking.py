"""What of a document breaks its schema.

Rules of this file:
- Bounded: so many steps of validation, then nothing more is said; so many sentences, so long each.
- A root is validated as a reader is shown it: a counter is a number, a board an object of tasks.
- jsonschema is imported with the first schema, as in `declaring`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tallystick_node.contexts.schemas.declaring import Declared

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

STEPS: Final = 50_000
"""Keywords applied in one validation."""
BREAKS: Final = 8
"""Sentences of one edit."""
BREAK_CHARACTERS: Final = 200

_Keyword = Callable[[Any, Any, Any, Any], Any]


class _TooMuch(Exception):
    """The steps are used up."""


class Breaks:
    """Of one declared schema."""

    def __init__(self, declared: Declared) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        self._declared = declared
        self._left = STEPS
        keywords: Mapping[str, _Keyword] = Draft202012Validator.VALIDATORS
        counted = {name: self._counted(keyword) for name, keyword in keywords.items()}
        extended = {**counted, "uniqueItems": self._counted(_unique)}
        validator = extend(Draft202012Validator, extended)  # type: ignore[no-untyped-call]  # the stub has no types
        self._validators = {name: validator(schema) for name, schema in declared.schemas.items()}

    @property
    def roots(self) -> frozenset[str]:
        """Those that are validated."""
        return frozenset(self._validators)

    def of(self, root: str, value: object) -> list[str]:
        """What a root breaks, one sentence each."""
        self._left = STEPS
        found: list[str] = []
        try:
            for error in self._validators[root].iter_errors(value):
                where = "".join(f"/{step}" for step in (root, *error.absolute_path))
                found.append(f"schema: {where}: {error.message}"[:BREAK_CHARACTERS])
                if len(found) == BREAKS:
                    break
        except (_TooMuch, RecursionError):
            pass  # what was found so far is true
        return found

    def _counted(self, keyword: _Keyword) -> _Keyword:
        def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            self._left -= 1
            if self._left < 0:
                raise _TooMuch
            yield from keyword(validator, value, instance, schema) or ()

        return counted


def _unique(_validator: Any, is_wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """`uniqueItems` in one pass: the library's own is quadratic for some lists."""
    from jsonschema.exceptions import ValidationError

    if is_wanted is True and isinstance(instance, list):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("some elements are equal")
