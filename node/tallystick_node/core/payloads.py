"""What is decided of payloads: (tables, command) -> (outcome, events). And which of them logs refer to.

Rules of this file:
- A payload is of chunks that are there, and what a log refers to is there: both are looked up where it is decided, so
  a race with the collection has one outcome on every replica.
- Nothing that is referred to goes, and no chunk that a payload has.
- Times are those of commands. What is touched again is never older than before; but a clock that was far ahead once
  holds back the collection of nothing but what was touched by it.
- What is repeated is told apart by what it names, and has no event; that it touches what it names makes none either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, assert_never

from tallystick.errors import Conflict, Invalid, NotFound, QuotaExceeded, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import Mutation, Target
from tallystick_node.core.manifests import CHUNK_ENTRY_BYTES, ChunkRef, chunks_of, payload_id
from tallystick_node.core.outcomes import Applied, MutationDecided
from tallystick_node.core.payload_records import (
    ChunkRecord,
    ChunksStored,
    Collected,
    CollectPayloads,
    PayloadChange,
    PayloadCommand,
    PayloadDecided,
    PayloadRecord,
    PayloadsCollected,
    PayloadStored,
    PutChunks,
    PutPayload,
)
from tallystick_node.core.tables import Tables

_NAMED_AT_MOST: Final = 16
"""Missing chunks that a refusal names."""


def decide(tables: Tables, command: PayloadCommand) -> Applied:
    """Decide one command on payloads.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case PutChunks():
            return _put_chunks(tables, command)
        case PutPayload():
            return _put_payload(tables, command)
        case CollectPayloads():
            return _collect(tables, command)
    assert_never(command)


def check_mutations(tables: Tables, namespace: str, mutations: Sequence[Mutation]) -> None:
    """Raises `NotFound` (`PAYLOAD_NOT_FOUND`) where a mutation names a payload that is not there."""
    for at, mutation in enumerate(mutations):
        if mutation.payloads:
            check(tables, namespace, mutation.payloads, {"mutation": str(at)})


def check(tables: Tables, namespace: str, ids: Iterable[bytes], where: Mapping[str, str]) -> None:
    """Raises `NotFound` (`PAYLOAD_NOT_FOUND`) for the first of these payloads that is not there."""
    for each in ids:
        if tables.payloads.payload(namespace, each) is None:
            raise payload_not_found(namespace, each, where)


def refer_mutations(
    tables: Tables, log_number: int, events: Sequence[MutationDecided], mutations: Sequence[Mutation]
) -> None:
    """The mutations, which were checked, are in the log: they refer to what they name from now on."""
    for event, mutation in zip(events, mutations, strict=True):
        if mutation.payloads:
            refer(tables, event.target.namespace, log_number, event.seq, mutation.payloads)


def refer(tables: Tables, namespace: str, log_number: int, seq: int, ids: Iterable[bytes]) -> None:
    """A place of a log refers to payloads that are there from now on."""
    for each in ids:
        record = tables.payloads.payload(namespace, each)
        if record is not None and tables.payloads.add_reference(log_number, seq, record.position):
            tables.payloads.save(record._replace(references=record.references + 1))


def end_with_agent(tables: Tables, target: Target, time_unix_ms: int) -> None:
    """An agent is about to be deleted, with all that its logs refer to."""
    gone = tables.payloads.remove_references_of_agent(target.namespace, target.agent)
    _released(tables, target.namespace, gone, time_unix_ms)


def end_with_log(tables: Tables, target: Target, log_number: int, time_unix_ms: int) -> None:
    """The same, of one branch."""
    gone = tables.payloads.remove_references(log_number)
    _released(tables, target.namespace, gone, time_unix_ms)


def end_before(
    tables: Tables, target: Target, log_number: int, below_seq: int, staying: Collection[int], time_unix_ms: int
) -> None:
    """The mutations of a log before a seq are gone.

    Args:
        staying: seqs before it where something is left: states that are kept, which refer to what they name from
            the seq where they are, checkpoints and the results of steps.
    """
    gone = tables.payloads.remove_references_below(log_number, below_seq, staying)
    _released(tables, target.namespace, gone, time_unix_ms)


def payload_not_found(namespace: str, wanted: bytes, where: Mapping[str, str]) -> NotFound:
    """There is no such payload."""
    return NotFound(
        f"payload {wanted.hex()} does not exist in {namespace!r}",
        reason=Reason.PAYLOAD_NOT_FOUND,
        metadata={"payload": wanted.hex(), **where},
    )


def chunk_cost_bytes(size_bytes: int) -> int:
    """What a chunk counts for in its namespace."""
    return size_bytes + limits.PAYLOAD_OVERHEAD_BYTES


def payload_cost_bytes(record: PayloadRecord) -> int:
    """What a payload counts for besides its chunks."""
    return record.chunks * CHUNK_ENTRY_BYTES + limits.PAYLOAD_OVERHEAD_BYTES


def _released(tables: Tables, namespace: str, gone: Mapping[bytes, int], time_unix_ms: int) -> None:
    """So many references to each payload are gone: to its collection the time counts from here."""
    for each, count in gone.items():
        record = tables.payloads.payload(namespace, each)
        if record is not None:
            left = record.references - count
            tables.payloads.save(_touched(record._replace(references=left), time_unix_ms))


def _touched(record: PayloadRecord, time_unix_ms: int) -> PayloadRecord:
    return record._replace(touched_unix_ms=max(record.touched_unix_ms, time_unix_ms))


def _count(tables: Tables, namespace: str, more_bytes: int) -> None:
    """So many bytes more are stored."""
    usage = tables.payloads.usage(namespace)
    tables.payloads.save_usage(usage._replace(stored_bytes=usage.stored_bytes + more_bytes))


def _check_room(tables: Tables, namespace: str, more_bytes: int) -> None:
    stored_bytes = tables.payloads.usage(namespace).stored_bytes
    if stored_bytes + more_bytes > limits.PAYLOADS_BYTES:
        raise QuotaExceeded(
            f"the payloads of {namespace!r} take {stored_bytes} bytes, and this would take {more_bytes} more",
            reason=Reason.PAYLOAD_QUOTA,
            metadata={"limit": str(limits.PAYLOADS_BYTES), "stored_bytes": str(stored_bytes)},
        )


def _put_chunks(tables: Tables, command: PutChunks) -> Applied:
    contents = {hashlib.sha256(chunk).digest(): chunk for chunk in command.chunks}
    there = tables.payloads.chunks(command.namespace, contents)
    new = [each for each in contents if each not in there]
    more_bytes = sum(chunk_cost_bytes(len(contents[each])) for each in new)
    _check_room(tables, command.namespace, more_bytes)
    time_unix_ms = command.time_unix_ms
    tables.payloads.save_chunks(
        [chunk._replace(touched_unix_ms=max(chunk.touched_unix_ms, time_unix_ms)) for chunk in there.values()]
    )
    if not new:
        return Applied(ChunksStored(tables.position, 0, replayed=True))
    _count(tables, command.namespace, more_bytes)
    for each in new:
        tables.payloads.add_chunk(command.namespace, each, contents[each], time_unix_ms)
    event = PayloadDecided(
        position=tables.position + 1,
        change=PayloadChange.CHUNKS_PUT,
        namespace=command.namespace,
        hash=hashlib.sha256(b"".join(new)).digest(),
        chunks=len(new),
        size_bytes=sum(len(contents[each]) for each in new),
        time_unix_ms=time_unix_ms,
        actor=command.actor,
    )
    tables.add_event(event)
    return Applied(ChunksStored(event.position, len(new)), (event,))


def _put_payload(tables: Tables, command: PutPayload) -> Applied:
    known = tables.payloads.payload(command.namespace, payload_id(command.manifest))
    if known is not None:
        touched = _touched(known, command.time_unix_ms)
        tables.payloads.save(touched)
        return Applied(PayloadStored(touched.position, touched, replayed=True))
    refs = chunks_of(command.manifest)
    size_bytes = _check_size(refs)
    chunks = _chunks(tables, command.namespace, refs)
    record = PayloadRecord(
        position=tables.position + 1,
        namespace=command.namespace,
        id=payload_id(command.manifest),
        size_bytes=size_bytes,
        chunks=len(refs),
        references=0,
        created_unix_ms=command.time_unix_ms,
        touched_unix_ms=command.time_unix_ms,
        actor=command.actor,
    )
    cost_bytes = payload_cost_bytes(record)
    _check_room(tables, command.namespace, cost_bytes)
    _count(tables, command.namespace, cost_bytes)
    tables.payloads.add(record, command.manifest)
    tables.payloads.save_chunks([chunk._replace(holders=chunk.holders + 1) for chunk in chunks])
    event = PayloadDecided(
        position=record.position,
        change=PayloadChange.PAYLOAD_PUT,
        namespace=record.namespace,
        hash=record.id,
        chunks=record.chunks,
        size_bytes=size_bytes,
        time_unix_ms=record.created_unix_ms,
        actor=command.actor,
    )
    tables.add_event(event)
    return Applied(PayloadStored(record.position, record), (event,))


def _check_size(refs: Sequence[ChunkRef]) -> int:
    """The size of a payload of these chunks, which is not too large."""
    size_bytes = sum(ref.size_bytes for ref in refs)
    if size_bytes > limits.PAYLOAD_BYTES:
        raise QuotaExceeded(
            f"the payload has {size_bytes} bytes",
            reason=Reason.PAYLOAD_QUOTA,
            metadata={"limit": str(limits.PAYLOAD_BYTES), "size_bytes": str(size_bytes)},
        )
    return size_bytes


def _chunks(tables: Tables, namespace: str, refs: Sequence[ChunkRef]) -> list[ChunkRecord]:
    """The chunks that these name, each once; all are there, and of the size that is said."""
    sizes: dict[bytes, int] = {}
    for ref in refs:
        if sizes.setdefault(ref.hash, ref.size_bytes) != ref.size_bytes:
            raise _wrong_size(ref)
    found = tables.payloads.chunks(namespace, sizes)
    missing = [each for each in sizes if each not in found]
    if missing:
        raise Conflict(
            f"{len(missing)} of the payload's {len(refs)} chunks are not stored",
            reason=Reason.CHUNK_MISSING,
            metadata={
                "missing": str(len(missing)),
                "chunks": ",".join(each.hex() for each in missing[:_NAMED_AT_MOST]),
            },
        )
    for chunk in found.values():
        if chunk.size_bytes != sizes[chunk.hash]:
            raise _wrong_size(ChunkRef(chunk.hash, sizes[chunk.hash]))
    return list(found.values())


def _wrong_size(ref: ChunkRef) -> Invalid:
    return Invalid(
        f"chunk {ref.hash.hex()} does not have {ref.size_bytes} bytes, as the manifest says",
        metadata={"field": "manifest", "chunk": ref.hash.hex()},
    )


def _collect(tables: Tables, command: CollectPayloads) -> Applied:
    payloads = _collectable(tables, command)
    for record in payloads:
        _remove(tables, record)
    chunks = tables.payloads.unheld(command.namespace, command.before_unix_ms, command.limit)
    tables.payloads.remove_chunks(chunks)
    if not payloads and not chunks:
        return Applied(Collected(tables.position, 0, 0, replayed=True))
    freed_bytes = sum(payload_cost_bytes(record) for record in payloads)
    freed_bytes += sum(chunk_cost_bytes(chunk.size_bytes) for chunk in chunks)
    _count(tables, command.namespace, -freed_bytes)
    event = PayloadsCollected(
        position=tables.position + 1,
        namespace=command.namespace,
        hash=hashlib.sha256(b"".join([*(each.id for each in payloads), *(each.hash for each in chunks)])).digest(),
        payloads=len(payloads),
        chunks=len(chunks),
        time_unix_ms=command.time_unix_ms,
    )
    tables.add_event(event)
    return Applied(Collected(event.position, len(payloads), len(chunks)), (event,))


def _collectable(tables: Tables, command: CollectPayloads) -> list[PayloadRecord]:
    """The payloads that go: so many that their manifests together are not much longer than the longest may be."""
    taken: list[PayloadRecord] = []
    entries = 0
    for record in tables.payloads.unreferenced(command.namespace, command.before_unix_ms, command.limit):
        entries += record.chunks
        if taken and entries > limits.PAYLOAD_CHUNKS:
            break
        taken.append(record)
    return taken


def _remove(tables: Tables, record: PayloadRecord) -> None:
    """A payload goes; its chunks are held by one less."""
    hashes = {ref.hash for ref in chunks_of(tables.payloads.manifest(record))}
    found = tables.payloads.chunks(record.namespace, hashes)
    tables.payloads.save_chunks([chunk._replace(holders=chunk.holders - 1) for chunk in found.values()])
    tables.payloads.remove(record)
