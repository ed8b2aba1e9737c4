"""What is decided of schemas: (tables, command) -> (outcome, events). And what is made sure of when a log is written.

Rules of this file:
- Versions of a subject are counted 1, 2, 3, ... What is repeated is told by what it names, and answered as before.
- Documents are not read here: the node that proposes a mutation checks it, for a check is no thing to agree on. What is
  agreed on is that it was checked against what holds here: it says up to which position it knew the schemas of the
  namespace, and on which head of the log it checked a state. Otherwise it is refused, and checked again.
- A state's version never falls: who writes an older one than the state has does not know what it looks like.
- Where a namespace has no schemas, nothing here applies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from tallystick.errors import Conflict, NotFound, QuotaExceeded, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import Mutation, Target
from tallystick_node.core.outcomes import Applied
from tallystick_node.core.schema_records import (
    RegisterSchema,
    SchemaKept,
    SchemaOf,
    SchemaRecord,
    SchemaRegistered,
    StateSchema,
    Subject,
)
from tallystick_node.core.tables import LogRecord, Tables

UNCHECKED: Final = "unchecked"
"""Metadata of a refusal that only says: check again, what it was checked against has changed."""


def decide(tables: Tables, command: RegisterSchema) -> Applied:
    """Decide a registration.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    namespace, subject, version = command.namespace, command.subject, command.version
    newest = tables.schemas.newest_version(namespace, subject)
    for known in (version, newest):
        record = tables.schemas.schema(namespace, subject, known)
        if record is not None and record.document == command.document:
            return Applied(SchemaKept(record.position, record, replayed=True))
    if version != newest + 1:
        raise Conflict(
            f"the newest version of {str(subject)!r} is {newest}: {version} does not follow it",
            reason=Reason.SCHEMA_CONFLICT,
            metadata={"subject": str(subject), "newest": str(newest), "asked": str(version)},
        )
    if tables.schemas.count(namespace) >= limits.SCHEMA_VERSIONS:
        raise QuotaExceeded(
            f"{limits.SCHEMA_VERSIONS} versions of schemas are registered in {namespace!r}",
            reason=Reason.SCHEMA_QUOTA,
            metadata={"limit": str(limits.SCHEMA_VERSIONS)},
        )
    return _add(tables, command)


def check_checked(tables: Tables, target: Target, log_hash: bytes, schemas: int, head: bytes | None) -> None:
    """Whether what is to be written was checked against what holds: the schemas up to this position, and, where a state
    was, the log at this head.

    Raises:
        Conflict: `SCHEMA_CONFLICT`, it was not; `metadata["unchecked"]` is the position to catch up with.
    """
    newest = tables.schemas.position(target.namespace)
    if schemas != newest:
        raise _unchecked(newest, f"schemas of {target.namespace!r} were registered up to {newest}, not {schemas}")
    if head is not None and head != log_hash:
        raise _unchecked(tables.position, f"the log of agent {target.agent!r} was written meanwhile")


def raised(tables: Tables, log: LogRecord, mutations: Sequence[Mutation]) -> list[tuple[int, StateSchema]]:
    """From which seqs on the state has which versions, where these mutations join a log: mostly none.

    Raises:
        Conflict: `STATE_VERSION`, one is of an older version than the state.
        NotFound: `SCHEMA_NOT_FOUND`, one is of a version that is not registered.
    """
    newest = tables.schemas.governing(log.target.namespace, log.target.agent)
    if newest is None:
        return []
    present = tables.schemas.state_version(log) if log.seq else None
    return rising(newest, present, log.seq, mutations)


def rising(
    newest: StateSchema, present: StateSchema | None, head_seq: int, mutations: Sequence[Mutation]
) -> list[tuple[int, StateSchema]]:
    """What `raised` finds where the head's state follows `present`, and `newest` governs it. Raises as that does."""
    version = present.version if present is not None and present.prefix == newest.prefix else 0
    found = []
    for seq, mutation in enumerate(mutations, head_seq + 1):
        if mutation.operations:
            following = _following(newest, version, mutation.schema_version)
            if following != version:
                version = following
                found.append((seq, StateSchema(newest.prefix, version)))
    return found


def save_raised(tables: Tables, log_number: int, rising: Sequence[tuple[int, StateSchema]]) -> None:
    """Keep what `raised` found."""
    for seq, schema in rising:
        tables.schemas.save_state_version(log_number, seq, schema)


def not_found(subject: Subject, version: int) -> NotFound:
    """There is no such version; 0: no schema of the subject."""
    which = f"version {version} of {str(subject)!r}" if version else f"{str(subject)!r}"
    return NotFound(
        f"no schema is registered as {which}",
        reason=Reason.SCHEMA_NOT_FOUND,
        metadata={"subject": str(subject), "version": str(version)},
    )


def _following(newest: StateSchema, version: int, asked: int) -> int:
    """The version of a state after a mutation that asks for one: 0 is the present one, or else the newest."""
    subject = Subject(SchemaOf.STATE, newest.prefix)
    if asked > newest.version:
        raise not_found(subject, asked)
    if asked and asked < version:
        raise Conflict(
            f"the state has version {version} of {str(subject)!r}, and this writer knows {asked}",
            reason=Reason.STATE_VERSION,
            metadata={"subject": str(subject), "version": str(version), "asked": str(asked)},
        )
    return asked or version or newest.version


def _add(tables: Tables, command: RegisterSchema) -> Applied:
    record = SchemaRecord(
        position=tables.position + 1,
        namespace=command.namespace,
        subject=command.subject,
        version=command.version,
        document=command.document,
        hash=hashlib.sha256(command.document).digest(),
        compatibility=command.compatibility,
        actor=command.actor,
        time_unix_ms=command.time_unix_ms,
    )
    event = SchemaRegistered(
        record.position,
        record.namespace,
        record.subject,
        record.version,
        record.compatibility,
        record.hash,
        record.time_unix_ms,
        record.actor,
    )
    tables.schemas.add(record)
    tables.add_event(event)
    return Applied(SchemaKept(record.position, record), (event,))


def _unchecked(position: int, why: str) -> Conflict:
    return Conflict(f"check again: {why}", reason=Reason.SCHEMA_CONFLICT, metadata={UNCHECKED: str(position)})
