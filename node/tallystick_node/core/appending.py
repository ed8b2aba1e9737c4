"""How mutations join a log: applied to its state, numbered, stamped, chained to their predecessor; and the log's record
after them.

Rules of this file:
- Time within a log never falls.
- Who folds mutations into states commits all of them, or rolls all of them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tallystick.errors import QuotaExceeded, Refused
from tallystick_node.core import limits
from tallystick_node.core.chain import hash_mutation
from tallystick_node.core.commands import Mutation
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.outcomes import Appended, MutationDecided
from tallystick_node.core.pointer import format_pointer
from tallystick_node.core.tables import LogRecord


def fold(document: Document, mutations: Sequence[Mutation]) -> None:
    """Apply mutations to a state.

    Raises:
        Refused: one does not fit, and the state may then be half changed; or it would be too large.
    """
    for at, mutation in enumerate(mutations):
        for operation in mutation.operations:
            try:
                apply_operation(document, operation)
            except Refused as refused:
                refused.metadata.update(mutation=str(at), path=format_pointer(operation.tokens))
                raise
    if document.size_bytes > limits.STATE_BYTES:
        raise QuotaExceeded(
            f"the state would have {document.size_bytes} bytes",
            metadata={"limit": str(limits.STATE_BYTES), "size_bytes": str(document.size_bytes)},
        )


def decide_mutations(
    log: LogRecord, position: int, time_unix_ms: int, actor: str, mutations: Sequence[Mutation]
) -> list[MutationDecided]:
    """The mutations as they are decided, behind the log's head and the newest `position`."""
    target, actor_bytes = log.target, actor.encode()
    time_unix_ms = max(log.time_unix_ms, time_unix_ms)
    seq, chained = log.seq, log.hash
    events = []
    for mutation in mutations:
        seq += 1
        position += 1
        chained = hash_mutation(chained, seq, time_unix_ms, actor_bytes, mutation.raw)
        events.append(MutationDecided(position, target, seq, time_unix_ms, actor, chained, mutation.raw))
    return events


def advanced(log: LogRecord, last: MutationDecided, mutations: Sequence[Mutation], document: Document) -> LogRecord:
    """The log's record once the mutations are in it; `last` is the last of them, `document` its state now."""
    return replace(
        log,
        seq=last.seq,
        hash=last.hash,
        time_unix_ms=last.time_unix_ms,
        position=last.position,
        log_bytes=log.log_bytes + sum(len(mutation.raw) for mutation in mutations),
        state_bytes=document.size_bytes,
    )


def appended(last: MutationDecided, mutations: int, *, replayed: bool = False) -> Appended:
    """What is answered of so many mutations, the last of which is this."""
    first_seq = last.seq - mutations + 1
    return Appended(last.position, first_seq, last.seq, last.hash, last.time_unix_ms, replayed)
