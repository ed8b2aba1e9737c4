"""What is told of schemas: immutable values, and what they are made of on the wire."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tallystick._json import JSON, decode
from tallystick._times import to_time
from tallystick._values import Revision
from tallystick.errors import Corrupt
from tallystick.schemas.subjects import Subject, SubjectKind
from tallystick.v1 import common_pb2, schema_pb2


class Compatibility(enum.StrEnum):
    """What a version of a schema promises of values of the version before."""

    BACKWARD = "backward"
    """All that was valid is valid. It is proven when the version is registered, or refused."""
    NONE = "none"
    """Nothing: a migration comes."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A version of a schema, as it was decided.

    Attributes:
        version: 1, 2, 3, ... of its subject.
        document_json: the JSON Schema (2020-12) as JSON text; empty in a listing.
        hash: SHA-256 of the document's canonical JSON.
        compatibility: with the version before.
        replayed: of an answer to `register`: it was there before.
    """

    subject: Subject
    version: int
    document_json: bytes
    hash: bytes
    compatibility: Compatibility
    actor: str
    time_unix_ms: int
    revision: Revision
    replayed: bool = False

    @property
    def document(self) -> JSON:
        """The JSON Schema; None in a listing."""
        return decode(self.document_json)

    @property
    def time(self) -> datetime:
        """When it was registered, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """Why a schema is not compatible, or a value not valid.

    Attributes:
        path: a JSON Pointer into the document, or into the value.
        rule: the keyword that is broken, for example `required`.
    """

    path: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """What a registration would say of a document, and a write of a value.

    Attributes:
        version: that the document has, or would get.
        is_registered: it is that version already.
        incompatible: why it would be refused; the first few.
        invalid: why the value would be; the first few.
    """

    version: int
    is_registered: bool
    incompatible: tuple[SchemaProblem, ...]
    invalid: tuple[SchemaProblem, ...]

    @property
    def is_fine(self) -> bool:
        """Nothing would be refused."""
        return not (self.incompatible or self.invalid)


_COMPATIBILITIES: Final = {
    Compatibility.BACKWARD: schema_pb2.SCHEMA_COMPATIBILITY_BACKWARD,
    Compatibility.NONE: schema_pb2.SCHEMA_COMPATIBILITY_NONE,
}
_COMPATIBILITIES_BACK: Final = {number: word for word, number in _COMPATIBILITIES.items()}


def subject_message(subject: Subject) -> schema_pb2.SchemaSubject:
    """A subject on the wire."""
    if subject.kind is SubjectKind.EVENT:
        return schema_pb2.SchemaSubject(event_kind=subject.name)
    return schema_pb2.SchemaSubject(state_prefix=subject.name)


def subject_of(message: schema_pb2.SchemaSubject) -> Subject:
    """A subject as a node told it.

    Raises:
        Corrupt: it is of a kind that this client does not know.
    """
    match message.WhichOneof("of"):
        case "event_kind":
            return Subject.event(message.event_kind)
        case "state_prefix":
            return Subject.state(message.state_prefix)
        case _:
            raise Corrupt("a schema of an unknown kind: is this client older than the cluster?")


def compatibility_number(compatibility: Compatibility) -> schema_pb2.SchemaCompatibility.ValueType:
    """A compatibility on the wire."""
    return _COMPATIBILITIES[compatibility]


def compatibility_of(number: schema_pb2.SchemaCompatibility.ValueType) -> Compatibility:
    """A compatibility as a node told it.

    Raises:
        Corrupt: it is one that this client does not know.
    """
    found = _COMPATIBILITIES_BACK.get(number)
    if found is None:
        raise Corrupt(f"an unknown compatibility {number}: is this client older than the cluster?")
    return found


def schema_of(message: schema_pb2.SchemaInfo, *, replayed: bool = False) -> Schema:
    """A version of a schema as a node told it."""
    return Schema(
        subject=subject_of(message.subject),
        version=message.version,
        document_json=message.document,
        hash=message.hash,
        compatibility=compatibility_of(message.compatibility),
        actor=message.actor,
        time_unix_ms=message.time_unix_ms,
        revision=_revision(message.revision),
        replayed=replayed,
    )


def check_of(message: schema_pb2.CheckSchemaResponse) -> SchemaCheck:
    """What a check found."""
    return SchemaCheck(
        version=message.version,
        is_registered=message.is_registered,
        incompatible=tuple(map(_problem, message.incompatible)),
        invalid=tuple(map(_problem, message.invalid)),
    )


def _problem(message: schema_pb2.SchemaProblem) -> SchemaProblem:
    return SchemaProblem(message.path, message.rule, message.message)


def _revision(message: common_pb2.Revision) -> Revision:
    return Revision(message.group, message.position)
