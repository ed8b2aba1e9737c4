"""How mutations join a log: numbered, stamped, chained to their predecessor; and the log's record after them.

Rules of this file: time within a log never falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tallystick_node.core.chain import hash_mutation
from tallystick_node.core.commands import Mutation
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import MutationDecided
from tallystick_node.core.tables import LogRecord


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
