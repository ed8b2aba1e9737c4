"""What a schema's document says of a value.

Rules of this file:
- The library is loaded with the first schema: most nodes never need it.
- It reaches out to nowhere, matches by automata alone, and checks no formats.
- Compiled documents are kept by their hash; the one used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from tallystick.errors import Invalid
from tallystick_node.core.values import JsonObject, JsonValue
from tallystick_node.schemas.documents import escaped

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

DOCUMENTS_KEPT: Final = 256
"""Compiled documents that are kept."""

PROBLEMS: Final = 20
"""What is told of a value at most."""

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
        self._compiled: OrderedDict[bytes, Draft202012Validator] = OrderedDict()

    def problem(self, document: bytes, hash_: bytes, value: JsonValue) -> Problem | None:
        """What is wrong with a value first; None: it is valid."""
        validator = self._validator(document, hash_)
        if validator.is_valid(value):
            return None
        return next((_problem(error) for error in validator.iter_errors(value)), None)

    def problems(self, document: bytes, hash_: bytes, value: JsonValue) -> list[Problem]:
        """What is wrong with a value, the first `PROBLEMS` things."""
        return [_problem(error) for error in islice(self._validator(document, hash_).iter_errors(value), PROBLEMS)]

    def _validator(self, document: bytes, hash_: bytes) -> Draft202012Validator:
        found = self._compiled.get(hash_)
        if found is None:
            found = self._compiled[hash_] = compile_document(orjson.loads(document))
            if len(self._compiled) > DOCUMENTS_KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(hash_)
        return found


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


def _problem(error: ValidationError) -> Problem:
    return Problem(_pointer(error.instance_path), error.kind.name, _short(error.message))


def _pointer(tokens: list[str | int]) -> str:
    return "".join(f"/{escaped(str(token))}" for token in tokens)


def _short(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARS else f"{message[:_MESSAGE_CHARS]}..."
