"""The checks that commands share, in the order in which they are made: known key, epoch (`leases.py`), expected seq."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tallystick.errors import AlreadyExists, Compacted, Conflict, Invalid, NotFound, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import MAIN, Idempotency, Target
from tallystick_node.core.outcomes import AgentDeleted, BranchDeleted, Event
from tallystick_node.core.tables import LogRecord, Remembered, Tables

EventT = TypeVar("EventT", bound=Event)
DeletionT = TypeVar("DeletionT", AgentDeleted, BranchDeleted)


def recall(
    tables: Tables, log: LogRecord, idempotency: Idempotency | None, kind: type[EventT]
) -> tuple[EventT, Remembered] | None:
    """The event of the first attempt, if this is a retry.

    Raises:
        Invalid: `KEY_REUSED`, the key was used for another request.
    """
    if idempotency is None or log.next_key == 0:
        return None
    known = tables.remembered(log.number, idempotency.key)
    if known is None:
        return None
    event = tables.event(known.position)
    if known.fingerprint != idempotency.fingerprint or not isinstance(event, kind):
        raise key_reused(idempotency.key)
    return event, known


def remember(
    tables: Tables, log: LogRecord, idempotency: Idempotency | None, position: int, mutations: int = 0
) -> LogRecord:
    """Remember the key with what came of it, and forget the oldest keys of this log a step at a time."""
    if idempotency is None:
        return log
    tables.remember(log.number, log.next_key, idempotency.key, Remembered(idempotency.fingerprint, position, mutations))
    first, following = log.first_key, log.next_key + 1
    if following - first >= limits.KEYS_REMEMBERED + limits.KEYS_PRUNE_STEP:
        first = following - limits.KEYS_REMEMBERED
        tables.forget_keys(log.number, first)
    return replace(log, first_key=first, next_key=following)


def recall_deletion(
    tables: Tables, target: Target, idempotency: Idempotency | None, kind: type[DeletionT]
) -> DeletionT | None:
    """The deletion that the first attempt led to, if this is a retry.

    Raises:
        Invalid: `KEY_REUSED`, the key was used for another request.
    """
    known = tables.deletion(target, idempotency.key) if idempotency is not None else None
    if idempotency is None or known is None:
        return None
    event, fingerprint = known
    if fingerprint != idempotency.fingerprint or not isinstance(event, kind):
        raise key_reused(idempotency.key)
    return event


def check_unused_key(tables: Tables, log: LogRecord, idempotency: Idempotency | None) -> None:
    """Raises `Invalid` (`KEY_REUSED`) when the log remembers the key: whoever calls this remembers it elsewhere."""
    if idempotency is not None and tables.remembered(log.number, idempotency.key) is not None:
        raise key_reused(idempotency.key)


def check_head(expected_seq: int | None, head_seq: int) -> None:
    """Raises `Conflict` when the log does not end where the caller expects."""
    if expected_seq is not None and expected_seq != head_seq:
        raise Conflict(
            f"the log ends at {head_seq}, not at {expected_seq}",
            metadata={"head_seq": str(head_seq), "expected_seq": str(expected_seq)},
        )


def find_log(tables: Tables, target: Target) -> LogRecord:
    """The log.

    Raises:
        NotFound: `AGENT_NOT_FOUND` or `BRANCH_NOT_FOUND`.
    """
    log = tables.log(target)
    if log is not None:
        return log
    agent_exists = target.branch != MAIN and tables.log(target._replace(branch=MAIN)) is not None
    raise branch_not_found(target) if agent_exists else agent_not_found(target)


def agent_not_found(target: Target) -> NotFound:
    """There is no such agent."""
    return NotFound(f"agent {target.agent!r} does not exist in {target.namespace!r}", metadata={"agent": target.agent})


def branch_not_found(target: Target) -> NotFound:
    """The agent has no such branch."""
    return NotFound(
        f"agent {target.agent!r} has no branch {target.branch!r}",
        reason=Reason.BRANCH_NOT_FOUND,
        metadata={"agent": target.agent, "branch": target.branch},
    )


def branch_exists(target: Target) -> AlreadyExists:
    """The branch's name is taken."""
    return AlreadyExists(
        f"agent {target.agent!r} has a branch {target.branch!r}",
        reason=Reason.BRANCH_EXISTS,
        metadata={"agent": target.agent, "branch": target.branch},
    )


def seq_not_found(head_seq: int) -> NotFound:
    """The log has no such seq."""
    return NotFound(f"the log ends at {head_seq}", reason=Reason.SEQ_NOT_FOUND, metadata={"head_seq": str(head_seq)})


def compacted(oldest_seq: int) -> Compacted:
    """What is asked for went; the oldest state that is kept is the one at this seq."""
    return Compacted(
        f"the log is kept from seq {oldest_seq} on: what was before went", metadata={"oldest_seq": str(oldest_seq)}
    )


def checkpoint_not_found(target: Target, name: str) -> NotFound:
    """The log has no such checkpoint."""
    return NotFound(
        f"agent {target.agent!r} has no checkpoint {name!r}",
        reason=Reason.CHECKPOINT_NOT_FOUND,
        metadata={"checkpoint": name},
    )


def key_reused(key: str) -> Invalid:
    """The idempotency key belongs to another request."""
    return Invalid(f"key {key!r} was used for another request", reason=Reason.KEY_REUSED, metadata={"key": key})


def checkpoint_exists(name: str) -> AlreadyExists:
    """The checkpoint's name is taken."""
    return AlreadyExists(f"checkpoint {name!r} exists", metadata={"checkpoint": name})
