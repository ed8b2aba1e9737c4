"""Pydantic models as schemas, and states as models. Pydantic is not imported: what has its two class methods will do.

Rules of this file:
- Only what decides whether a value is valid goes into the schema of a model: a new docstring is no new version.
- A model names all fields that there are, unless it says `extra="allow"`: else nobody could show of a new field that no
  old state has another thing there.
- Pydantic's exceptions do not cross: what a model refuses is a `SCHEMA_VIOLATION`, as from a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar, runtime_checkable

from tallystick._json import JSON, JSONLike
from tallystick._pointer import pointer
from tallystick._values import Revision, Snapshot
from tallystick.errors import Invalid, Reason


class Model(Protocol):
    """What a Pydantic model (v2) is, as far as it is used here."""

    @classmethod
    def model_json_schema(cls) -> dict[str, JSON]:
        """Its JSON Schema."""

    @classmethod
    def model_validate(cls, obj: JSON, /) -> Self:
        """An instance of a JSON value; raises ValueError."""


ModelT = TypeVar("ModelT", bound=Model)


@dataclass(frozen=True, slots=True)
class TypedSnapshot(Generic[ModelT]):
    """An agent's state as a model, and the snapshot that it was made of."""

    state: ModelT
    snapshot: Snapshot

    @property
    def seq(self) -> int:
        """Of the last mutation in it."""
        return self.snapshot.seq

    @property
    def revision(self) -> Revision:
        """Watch after this one, and nothing that follows the state is missed."""
        return self.snapshot.revision


def document_of(schema: Mapping[str, JSONLike] | type[Model]) -> JSONLike:
    """The JSON Schema of a model, with the fields that it names and no others; a document as it is.

    Raises:
        Invalid: it is neither.
    """
    if isinstance(schema, Mapping):
        return schema
    if not (isinstance(schema, type) and callable(getattr(schema, "model_json_schema", None))):
        raise Invalid("a schema is a JSON object or a Pydantic model", metadata={"field": "schema"})
    return _validity(schema.model_json_schema())


def as_model(model: type[ModelT], state: JSON, version: int) -> ModelT:
    """The state as a model; `version`: of the schema that it follows.

    Raises:
        Invalid: `SCHEMA_VIOLATION`; the metadata name the path, the rule and the version.
    """
    try:
        return model.model_validate(state)
    except ValueError as error:
        path, rule = _place(error)
        raise Invalid(
            f"the state, of version {version}, is no {model.__name__}: at {path or 'its root'}: {rule}",
            reason=Reason.SCHEMA_VIOLATION,
            metadata={"path": path, "rule": rule, "version": str(version)},
        ) from error


@runtime_checkable
class _Listing(Protocol):
    """Pydantic's ValidationError."""

    def errors(self) -> Sequence[Mapping[str, object]]:
        """Each has `loc`, a tuple of keys and indices, and `type`, the name of a rule."""


def _place(error: ValueError) -> tuple[str, str]:
    """Where the first thing is that is wrong, as a JSON Pointer, and which rule it breaks."""
    if not isinstance(error, _Listing) or not (found := error.errors()):
        return "", type(error).__name__
    location = found[0].get("loc")
    tokens = [str(token) for token in location] if isinstance(location, tuple) else []
    return pointer(*tokens), str(found[0].get("type", ""))


_ANNOTATIONS: Final = frozenset(
    {
        "$comment", "default", "deprecated", "description", "discriminator", "examples", "readOnly", "title",
        "writeOnly",
    }
)  # fmt: skip
_BY_NAME: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_LISTED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE: Final = frozenset(
    {
        "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
        "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip


def _validity(schema: JSON) -> JSON:
    """The schema without what says nothing about validity, and closed. Values (`enum`, `const`) stay as they are."""
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, JSON] = {"additionalProperties": False} if "properties" in schema else {}
    kept = {keyword: _part(keyword, value) for keyword, value in schema.items() if keyword not in _ANNOTATIONS}
    return {**closed, **kept}


def _part(keyword: str, value: JSON) -> JSON:
    if keyword in _SINGLE:
        return _validity(value)
    if keyword in _LISTED and isinstance(value, list):
        return [_validity(item) for item in value]
    if keyword in _BY_NAME and isinstance(value, dict):
        return {name: _validity(item) for name, item in value.items()}
    return value
