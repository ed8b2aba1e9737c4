"""What is decided of shared contexts: (tables, command) -> (outcome, events).

Rules of this file:
- A document is its guid. A guid is created once, and one that was deleted never comes back; a name is free again then.
- Epochs rise by one, and only under a seal; who starts one names the seal, for edits came between two seals.
- Writer ids are handed out in the order of the log and never again, whoever asks.
- What is repeated is told apart by what it names, and answered as the first time.
- Time within a context never falls.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import assert_never

from tallystick.errors import AlreadyExists, Conflict, Invalid, NotFound, QuotaExceeded, Reason
from tallystick_node.core import limits
from tallystick_node.core.chain import hash_parts
from tallystick_node.core.commands import (
    AllocateWriters,
    ContextCommand,
    CreateContext,
    DeleteContext,
    SaveVersion,
    SealContext,
    StartEpoch,
)
from tallystick_node.core.outcomes import (
    Applied,
    ContextChange,
    ContextChanged,
    ContextDecided,
    ContextDeleted,
    ContextRecord,
    VersionRecord,
    VersionSaved,
    WritersAllocated,
    WritersGiven,
)
from tallystick_node.core.tables import Tables

FIRST_EPOCH = 1


def decide(tables: Tables, command: ContextCommand) -> Applied:
    """Decide one command on contexts.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case CreateContext():
            return _create(tables, command)
        case DeleteContext():
            return _delete(tables, command)
        case AllocateWriters():
            return _allocate(tables, command)
        case SealContext():
            return _seal(tables, command)
        case StartEpoch():
            return _start_epoch(tables, command)
        case SaveVersion():
            return _save_version(tables, command)
    assert_never(command)


def _create(tables: Tables, command: CreateContext) -> Applied:
    contexts = tables.contexts
    if contexts.deletion(command.guid) is not None:
        raise not_found(command.namespace, command.name, command.guid)
    fingerprint = hash_parts(b"", command.namespace.encode(), command.name.encode(), command.schema, command.seed)
    known = contexts.context(command.guid)
    if known is not None:
        if known.fingerprint != fingerprint:
            raise Invalid(
                f"guid {command.guid.hex()} was used for another context",
                reason=Reason.KEY_REUSED,
                metadata={"guid": command.guid.hex()},
            )
        return Applied(ContextChanged(known.position, known, replayed=True))
    other = contexts.named(command.namespace, command.name)
    if other is not None:
        raise AlreadyExists(
            f"context {command.name!r} exists in {command.namespace!r}",
            reason=Reason.CONTEXT_EXISTS,
            metadata={"context": command.name, "guid": other.guid.hex()},
        )
    record = ContextRecord(
        guid=command.guid,
        namespace=command.namespace,
        name=command.name,
        epoch=FIRST_EPOCH,
        seal=0,
        actor=command.actor,
        time_unix_ms=command.time_unix_ms,
        changed_unix_ms=command.time_unix_ms,
        position=tables.position + 1,
        fingerprint=fingerprint,
        schema=command.schema,
    )
    contexts.save(record)
    contexts.save_base(record.guid, record.epoch, command.seed)
    return _changed(tables, record, ContextChange.CREATED, command.actor, fingerprint)


def _delete(tables: Tables, command: DeleteContext) -> Applied:
    contexts = tables.contexts
    record = contexts.named(command.namespace, command.name)
    if record is None or (command.guid and record.guid != command.guid):
        if command.guid:
            gone = contexts.deletion(command.guid)
        else:
            gone = contexts.newest_deletion(command.namespace, command.name)
        if gone is None or (gone.namespace, gone.name) != (command.namespace, command.name):
            raise not_found(command.namespace, command.name, command.guid)
        return Applied(ContextDeleted(gone.position, gone.guid, replayed=True))
    event = _event(tables, _touched(tables, record, command.time_unix_ms), ContextChange.DELETED, command.actor, b"")
    contexts.delete(record, event.position)
    tables.add_event(event)
    return Applied(ContextDeleted(event.position, record.guid), (event,))


def _allocate(tables: Tables, command: AllocateWriters) -> Applied:
    first = tables.contexts.next_writer()
    if command.count < 1 or first + command.count - 1 > limits.LAST_WRITER:
        raise QuotaExceeded(
            f"{command.count} writer ids cannot be handed out from {first} on",
            reason=Reason.WRITERS_QUOTA,
            metadata={"limit": str(limits.LAST_WRITER)},
        )
    event = WritersAllocated(
        tables.position + 1, command.namespace, first, command.count, command.time_unix_ms, command.actor
    )
    tables.contexts.add_writers(event)
    tables.add_event(event)
    return Applied(WritersGiven(event.position, first, command.count), (event,))


def _seal(tables: Tables, command: SealContext) -> Applied:
    record = _find(tables, command.guid)
    _check_epoch(record, command.epoch)
    if record.is_sealed:
        return Applied(ContextChanged(record.seal, record, replayed=True))
    record = _touched(tables, record, command.time_unix_ms)
    record = replace(record, seal=record.position)
    tables.contexts.save(record)
    return _changed(tables, record, ContextChange.SEALED, command.actor, b"")


def _start_epoch(tables: Tables, command: StartEpoch) -> Applied:
    record = _find(tables, command.guid)
    contexts = tables.contexts
    if command.base and not record.is_sealed and command.epoch == record.epoch > FIRST_EPOCH:
        if contexts.base(record.guid) != command.base:
            raise _conflict(record, f"epoch {command.epoch} began with another base")
        return Applied(ContextChanged(record.position, record, replayed=True))
    _check_epoch(record, command.epoch - 1)
    if not command.base and not record.is_sealed:
        return Applied(ContextChanged(record.position, record, replayed=True))
    if record.seal == 0 or record.seal != command.seal:
        raise _conflict(record, f"epoch {record.epoch} is not under the seal of position {command.seal}")
    record = replace(_touched(tables, record, command.time_unix_ms), seal=0)
    if not command.base:
        contexts.save(record)
        return _changed(tables, record, ContextChange.UNSEALED, command.actor, b"")
    record = replace(record, epoch=command.epoch)
    contexts.save(record)
    contexts.save_base(record.guid, record.epoch, command.base)
    return _changed(tables, record, ContextChange.EPOCH_STARTED, command.actor, hashlib.sha256(command.base).digest())


def _save_version(tables: Tables, command: SaveVersion) -> Applied:
    record = _find(tables, command.guid)
    digest = hashlib.sha256(command.content).digest()
    known = tables.contexts.version(record.guid, command.name)
    if known is not None:
        if known.digest != digest:
            raise AlreadyExists(
                f"version {command.name!r} of context {record.name!r} exists",
                reason=Reason.VERSION_EXISTS,
                metadata={"context": record.name, "version": command.name},
            )
        return Applied(VersionSaved(known.position, known, replayed=True))
    _check_epoch(record, command.epoch)
    record = _touched(tables, record, command.time_unix_ms)
    version = VersionRecord(
        position=record.position,
        guid=record.guid,
        name=command.name,
        epoch=record.epoch,
        cursor=command.cursor,
        target=command.target,
        checkpoint=command.checkpoint,
        actor=command.actor,
        time_unix_ms=record.changed_unix_ms,
        digest=digest,
        size_bytes=len(command.content),
    )
    tables.contexts.save(record)
    tables.contexts.add_version(version, command.content)
    event = _event(tables, record, ContextChange.VERSION_SAVED, command.actor, _hash_version(version), version.name)
    tables.add_event(event)
    return Applied(VersionSaved(event.position, version), (event,))


def _hash_version(version: VersionRecord) -> bytes:
    names = version.target or ()
    parts = (name.encode() for name in (version.checkpoint, *names))
    return hash_parts(b"version", version.digest, version.cursor, *parts)


def _touched(tables: Tables, record: ContextRecord, time_unix_ms: int) -> ContextRecord:
    """The record with the next position, and a time that does not fall."""
    changed_unix_ms = max(record.changed_unix_ms, time_unix_ms)
    return replace(record, position=tables.position + 1, changed_unix_ms=changed_unix_ms)


def _changed(tables: Tables, record: ContextRecord, change: ContextChange, actor: str, brought: bytes) -> Applied:
    event = _event(tables, record, change, actor, brought)
    tables.add_event(event)
    return Applied(ContextChanged(event.position, record), (event,))


def _event(
    tables: Tables, record: ContextRecord, change: ContextChange, actor: str, brought: bytes, version: str = ""
) -> ContextDecided:
    return ContextDecided(
        position=tables.position + 1,
        change=change,
        namespace=record.namespace,
        name=record.name,
        guid=record.guid,
        epoch=record.epoch,
        time_unix_ms=record.changed_unix_ms,
        actor=actor,
        hash=brought,
        version=version,
    )


def _find(tables: Tables, guid: bytes) -> ContextRecord:
    record = tables.contexts.context(guid)
    if record is None:
        raise NotFound(
            f"context {guid.hex()} does not exist", reason=Reason.CONTEXT_NOT_FOUND, metadata={"guid": guid.hex()}
        )
    return record


def not_found(namespace: str, name: str, guid: bytes = b"") -> NotFound:
    """There is no such context, or none of that name with that guid."""
    metadata = {"context": name, **({"guid": guid.hex()} if guid else {})}
    what = f"context {name!r}" + (f" with guid {guid.hex()}" if guid else "")
    return NotFound(f"{what} does not exist in {namespace!r}", reason=Reason.CONTEXT_NOT_FOUND, metadata=metadata)


def _check_epoch(record: ContextRecord, epoch: int) -> None:
    if record.epoch != epoch:
        raise _conflict(record, f"context {record.name!r} is in epoch {record.epoch}, not in {epoch}")


def _conflict(record: ContextRecord, message: str) -> Conflict:
    return Conflict(
        message, reason=Reason.EPOCH_CONFLICT, metadata={"context": record.name, "epoch": str(record.epoch)}
    )
