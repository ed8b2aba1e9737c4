"""What a schema's document says of a value.

Rules of this file:
- The library is loaded with the first schema: most nodes never need it.
- It reaches out to nowhere, matches by automata alone, and checks no formats.
- Compiled documents are kept by their hash; the one used longest ago goes first.
- Whether a value is valid is known at once. Why not is looked for in a document made for that (`telling.py`), and never
  all there is: the library gathers all before it tells one.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from tallystick.errors import Invalid
from tallystick_node.core.values import JsonObject, JsonValue, canonical_json
from tallystick_node.schemas.documents import escaped
from tallystick_node.schemas.telling import telling, told_as_one

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

DOCUMENTS_KEPT: Final = 256
"""Compiled documents that are kept."""

PROBLEMS: Final = 20
"""What is told of a value at most."""

TOLD_BYTES: Final = 64 * 1024
"""Of a value that is larger, the first problem alone is told."""

_REGEX_BYTES: Final = 1024 * 1024
_MESSAGE_CHARS: Final = 300


class Problem(NamedTuple):
    """Why a value is not valid, or a document not compatible: where (a JSON Pointer), by which keyword, in words."""

    path: str
    rule: str
    message: str


class Validators:
    """See the module."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[bytes, _Compiled] = OrderedDict()

    def problem(self, document: bytes, hash_: bytes, value: JsonValue) -> Problem | None:
        """What is wrong with a value first; None: it is valid."""
        compiled = self._compiled_of(document, hash_)
        return None if compiled.checks.is_valid(value) else _first(compiled.tells, value)

    def problems(self, document: bytes, hash_: bytes, value: JsonValue) -> list[Problem]:
        """What is wrong with a value, the first `PROBLEMS` things."""
        first = self.problem(document, hash_, value)
        if first is None or len(canonical_json(value)) > TOLD_BYTES:
            return [first] if first is not None else []
        tells = self._compiled_of(document, hash_).tells
        return [_problem(error) for error in islice(tells.iter_errors(value), PROBLEMS)]

    def _compiled_of(self, document: bytes, hash_: bytes) -> _Compiled:
        found = self._compiled.get(hash_)
        if found is None:
            found = self._compiled[hash_] = _Compiled(orjson.loads(document))
            if len(self._compiled) > DOCUMENTS_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(hash_)
        return found


class _Compiled:
    """A document; the one that tells is compiled when there is something to tell."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self.checks = compile_document(root)

    @cached_property
    def tells(self) -> Draft202012Validator:
        return compile_document(telling(self._root))


def compile_document(root: JsonObject) -> Draft202012Validator:
    """The validator of an admitted document.

    Raises:
        Invalid: it is no JSON Schema, or a pattern of it cannot be matched by automata.
    """
    from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

    options = RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)
    try:
        return Draft202012Validator(root, validate_formats=False, offline=True, pattern_options=options)
    except ValidationError as error:
        path = _pointer(error.instance_path)
        raise Invalid(
            f"document at {path or '/'}: {_short(error.message)}", metadata={"field": "document", "path": path}
        ) from error


def _first(tells: Draft202012Validator, value: JsonValue) -> Problem:
    from jsonschema_rs import ValidationError

    try:
        tells.validate(value)
    except ValidationError as error:
        return _problem(error)
    return Problem("", "schema", "it is not valid")  # not met: both say the same


def _problem(error: ValidationError) -> Problem:
    path = _pointer(error.instance_path)
    rule, why = error.kind.name, error.message
    if rule == "not":
        rule, why = told_as_one(getattr(error.kind, "schema", None)) or (rule, why)
    return Problem(path, rule, _short(why))


def _pointer(tokens: list[str | int]) -> str:
    return "".join(f"/{escaped(str(token))}" for token in tokens)


def _short(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARS else f"{message[:_MESSAGE_CHARS]}..."
