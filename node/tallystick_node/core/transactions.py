"""What is decided of transactions: (tables, command) -> (outcome, events).

Rules of this file:
- All parts or none: every part is checked and folded before any log is written, and what one refuses is taken back from
  the states of all. The refusal names its part.
- The events are the parts' mutations, at consecutive positions in the order of the request.
- The key belongs to the log of the first part, and goes with that. A retry is answered out of the events; those of a
  log that was deleted meanwhile, or compacted, are gone, and of that part the position alone is known.
- A part without mutations only says where its log must end: it appends nothing, and needs no lease.
- That no log is named twice, and that the first part appends, was checked before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tallystick.errors import QuotaExceeded, Reason, Refused
from tallystick_node.core import leases, limits, payloads, rules, schemas
from tallystick_node.core.appending import advanced, appended, decide_mutations, fold
from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.commands import MAIN, Part, Transact
from tallystick_node.core.document import Document
from tallystick_node.core.observations import observe
from tallystick_node.core.outcomes import Appended, Applied, MutationDecided, Transacted
from tallystick_node.core.schema_records import StateSchema
from tallystick_node.core.tables import LogRecord, Tables


def decide(tables: Tables, command: Transact) -> Applied:
    """Decide a transaction.

    Raises:
        Refused: decided: no. Nothing was changed; the metadata name the part's agent and branch.
    """
    replayed = _recall(tables, command)
    if replayed is not None:
        return Applied(replayed)
    logs = [_checked(tables, at, part, command.schemas) for at, part in enumerate(command.parts)]
    rising = [_raised(tables, at, part, log) for at, (part, log) in enumerate(zip(command.parts, logs, strict=True))]
    appending = [(at, log) for at, log in enumerate(logs) if command.parts[at].mutations]
    documents = dict(zip([at for at, _ in appending], states_of(tables, [log for _, log in appending]), strict=True))
    _fold(command, documents)
    events: list[MutationDecided] = []
    outcomes = [_seen(part) for part in command.parts]
    for at, log in appending:
        decided = _write(tables, command, at, log, documents[at], rising[at])
        events += decided
        outcomes[at] = appended(decided[-1], len(decided))
    return Applied(Transacted(events[-1].position, tuple(outcomes)), tuple(events))


def states_of(tables: Tables, logs: Iterable[LogRecord | None]) -> Iterator[Document]:
    """The states that one decision looks at, one after the other; None: a log that begins.

    They are measured themselves: the record of a branch does not know the size of its state before its first mutation.

    Raises:
        QuotaExceeded: `TEAM_QUOTA`, those up to here are too large together.
    """
    size_bytes = 0
    for log in logs:
        document = tables.document(log) if log is not None else Document.empty()
        size_bytes += document.size_bytes
        if size_bytes > limits.TEAM_STATES_BYTES:
            raise QuotaExceeded(
                f"the states of these agents have {size_bytes} bytes together, or more",
                reason=Reason.TEAM_QUOTA,
                metadata={"limit": str(limits.TEAM_STATES_BYTES), "size_bytes": str(size_bytes)},
            )
        yield document


def _fold(command: Transact, documents: Mapping[int, Document]) -> None:
    """Apply the parts to their states: all of them, or none and raise why."""
    try:
        for at, document in documents.items():
            with _naming(at, command.parts[at]):
                fold(document, command.parts[at].mutations)
    except Refused:
        for document in documents.values():
            document.rollback()
        raise
    for document in documents.values():
        document.commit()


@contextmanager
def _naming(at: int, part: Part) -> Iterator[None]:
    """A refusal of the block names the part."""
    try:
        yield
    except Refused as refused:
        refused.metadata.update(part=str(at), agent=part.target.agent, branch=part.target.branch)
        raise


def _recall(tables: Tables, command: Transact) -> Transacted | None:
    """The answer of the first attempt, if this is a retry."""
    first, *others = command.parts
    log = tables.log(first.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided) if log is not None else None
    if known is None:
        return None
    event, remembered = known
    answers = [appended(event, remembered.mutations, replayed=True)]
    position = event.position
    for part in others:
        position += len(part.mutations)
        answer = _recalled(tables, part, position) if part.mutations else replace(_seen(part), replayed=True)
        answers.append(answer)
    return Transacted(position, tuple(answers), replayed=True)


def _recalled(tables: Tables, part: Part, position: int) -> Appended:
    event = tables.find_mutation(position)
    if event is None or event.target != part.target:
        return Appended(position, 0, 0, NO_HASH, 0, replayed=True)
    return appended(event, len(part.mutations), replayed=True)


def _seen(part: Part) -> Appended:
    """What is answered of a part that appends nothing: where its log ends, as it said."""
    return Appended(0, 0, part.expected_seq or 0, NO_HASH, 0)


def _checked(tables: Tables, at: int, part: Part, checked: int) -> LogRecord | None:
    """The log of a part to which it may append; None: it begins with it."""
    with _naming(at, part):
        log = tables.log(part.target)
        if log is None and part.target.branch != MAIN:
            raise rules.branch_not_found(part.target)
        if part.mutations:
            schemas.check_checked(tables, part.target, log.hash if log is not None else NO_HASH, checked, part.head)
            leases.check_epoch(tables, part.target, part.epoch)
        rules.check_head(part.expected_seq, log.seq if log is not None else 0)
        payloads.check_mutations(tables, part.target.namespace, part.mutations)
        return log


def _raised(tables: Tables, at: int, part: Part, log: LogRecord | None) -> list[tuple[int, StateSchema]]:
    with _naming(at, part):
        return schemas.raised(tables, log or LogRecord(number=0, target=part.target), part.mutations)


def _write(
    tables: Tables,
    command: Transact,
    at: int,
    log: LogRecord | None,
    document: Document,
    rising: Sequence[tuple[int, StateSchema]],
) -> list[MutationDecided]:
    part = command.parts[at]
    log = log or LogRecord(number=tables.last_log + 1, target=part.target)
    events = decide_mutations(log, tables.position, command.time_unix_ms, command.actor, part.mutations)
    if at == 0:
        log = rules.remember(tables, log, command.idempotency, events[-1].position, len(events))
    tables.add_mutations(log.number, events)
    observe(tables, log, part.mutations, events)
    schemas.save_raised(tables, log.number, rising)
    tables.save_log(advanced(log, events[-1], part.mutations, document), document)
    payloads.refer_mutations(tables, log.number, events, part.mutations)
    return events
