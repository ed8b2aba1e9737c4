"""Pydantic models as schemas, and states as models."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import orjson
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field

from tallystick import Revision, Snapshot
from tallystick._json import JSON, encode
from tallystick.errors import Invalid, Reason
from tallystick.schemas import TypedSnapshot
from tallystick.schemas.models import as_model, document_of


class Size(enum.StrEnum):
    """Never told."""

    SMALL = "small"
    LARGE = "large"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, description="told nobody", ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]


class Task(BaseModel):
    """A docstring that may change."""

    title: str = Field(title="Not an annotation: a property of this name", examples=["x"])
    default: dict[str, float] = {}
    size: Size = Size.SMALL
    of: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")
    goal: str
    tasks: dict[str, Task] = {}
    notes: list[tuple[int, str]] = []


def test_the_schema_of_a_model_holds_what_decides_whether_a_value_is_valid() -> None:
    document = orjson.loads(encode(document_of(Plan)))
    Draft202012Validator.check_schema(document)
    assert document["required"] == ["goal"]
    assert document["additionalProperties"] is False
    assert set(document["$defs"]["Task"]["properties"]) == {"title", "default", "size", "of"}
    assert document["$defs"]["Task"]["properties"]["title"] == {"type": "string"}
    assert document["$defs"]["Cat"]["properties"]["lives"] == {"type": "integer", "minimum": 0, "maximum": 9}
    text = encode(document).decode()
    assert "docstring" not in text
    assert "told" not in text
    assert "discriminator" not in text
    assert document["$defs"]["Cat"]["additionalProperties"] is False


def test_a_model_is_open_only_if_it_says_so() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        goal: str

    class Closed(BaseModel):
        goal: str

    def allows(model: type[BaseModel]) -> bool:
        document = orjson.loads(encode(document_of(model)))
        return Draft202012Validator(document).is_valid({"goal": "g", "more": 1})

    assert allows(Open)
    assert not allows(Closed)


@pytest.mark.parametrize(
    "state",
    [
        {"goal": "g"},
        {"goal": "g", "tasks": {"a": {"title": "t", "of": {"kind": "cat", "lives": 9}}}, "notes": [[1, "n"]]},
        {"goal": "g", "tasks": {"a": {"title": "t", "size": "large", "of": {"kind": "dog"}, "default": {"x": 1.5}}}},
        {},
        {"goal": 1},
        {"goal": "g", "more": 1},
        {"goal": "g", "tasks": {"a": {}}},
        {"goal": "g", "tasks": {"a": {"title": "t", "size": "huge"}}},
        {"goal": "g", "tasks": {"a": {"title": "t", "of": {"kind": "cat", "lives": 10}}}},
        {"goal": "g", "notes": [[1]]},
    ],
)
def test_the_schema_says_of_a_state_what_the_model_says(state: JSON) -> None:
    try:
        as_model(Plan, state, 1)
        fits = True
    except Invalid:
        fits = False
    assert Draft202012Validator(orjson.loads(encode(document_of(Plan)))).is_valid(state) == fits


def test_a_state_that_is_no_such_model_names_the_place_and_the_rule() -> None:
    with pytest.raises(Invalid) as refused:
        as_model(Plan, {"goal": "g", "tasks": {"a/b": {"title": 1}}}, 2)
    assert refused.value.reason is Reason.SCHEMA_VIOLATION
    assert refused.value.metadata == {"path": "/tasks/a~1b/title", "rule": "string_type", "version": "2"}


def test_a_value_error_of_any_other_kind_of_model_is_a_violation_too() -> None:
    class Plain:
        @classmethod
        def model_json_schema(cls) -> dict[str, JSON]:
            return {"type": "object", "default": {}}

        @classmethod
        def model_validate(cls, obj: JSON, /) -> Plain:
            raise ValueError(obj)

    assert document_of(Plain) == {"type": "object"}
    with pytest.raises(Invalid, match="Plain") as refused:
        as_model(Plain, {}, 0)
    assert refused.value.metadata == {"path": "", "rule": "ValueError", "version": "0"}


def test_a_document_stays_as_it_was_written() -> None:
    document: JSON = {"title": "mine", "properties": {"a": {"description": "kept"}}}
    assert document_of({"title": "mine", "properties": {"a": {"description": "kept"}}}) == document


def test_a_schema_is_a_document_or_a_model() -> None:
    others: tuple[object, ...] = ([], "{}", dict, Plan(goal="an instance"))
    for other in others:
        with pytest.raises(Invalid):
            document_of(other)  # type: ignore[arg-type]


def test_a_typed_snapshot_knows_where_it_is() -> None:
    snapshot = Snapshot(state={"goal": "g"}, seq=3, revision=Revision(1, 7))
    typed = TypedSnapshot(as_model(Plan, snapshot.state, 0), snapshot)
    assert (typed.state.goal, typed.seq, typed.revision) == ("g", 3, Revision(1, 7))
