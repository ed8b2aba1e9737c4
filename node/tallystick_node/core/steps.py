"""What is decided of steps and turns: (tables, command) -> (outcome, events).

Rules of this file:
- A step is begun by one request at a time: who is answered without being granted it leaves the effect alone.
- An attempt ends once; completed is for good. A new attempt names the one that it follows, so two that retry at once
  are granted one attempt.
- One turn is open at most. Only who names the open turn ends or abandons it.
- Each has its mutation in the log, hashed and chained like all others, or no effect.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final, assert_never

from tallystick.errors import Conflict, NotFound, Reason
from tallystick_node.core import leases, payloads, rules
from tallystick_node.core.appending import advanced, decide_mutations
from tallystick_node.core.commands import MAIN, BeginStep, BeginTurn, EndStep, EndTurn, StepCommand, Target
from tallystick_node.core.document import Document
from tallystick_node.core.observations import observe
from tallystick_node.core.outcomes import (
    Applied,
    MutationDecided,
    StepDecided,
    StepRecord,
    StepStatus,
    TurnDecided,
    TurnRecord,
)
from tallystick_node.core.tables import LogRecord, Tables

_EFFECT_KEY_CHARS: Final = 32


def decide(tables: Tables, command: StepCommand) -> Applied:
    """Decide one command on steps or turns.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case BeginStep():
            return _begin_step(tables, command)
        case EndStep():
            return _end_step(tables, command)
        case BeginTurn():
            return _begin_turn(tables, command)
        case EndTurn():
            return _end_turn(tables, command)
    assert_never(command)


def effect_key(target: Target, first_position: int) -> str:
    """What tells an effect from all others, whoever tries it how often: of all attempts, on all branches."""
    named = f"{target.namespace}\n{target.agent}\n{first_position}"
    return hashlib.sha256(named.encode()).hexdigest()[:_EFFECT_KEY_CHARS]


def _begin_step(tables: Tables, command: BeginStep) -> Applied:
    log = _log_or_new(tables, command.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided)
    record = tables.steps.newest(log, command.name)
    if known is not None and record is not None:
        return _as_it_is(tables, record, begun_position=known[0].position)
    leases.check_epoch(tables, command.target, command.epoch)
    if record is None:
        if command.retry_of:
            raise step_not_found(command.name)
    elif record.status is StepStatus.COMPLETED or record.attempt != command.retry_of:
        return _as_it_is(tables, record)
    event = _record(tables, log, command)
    begun = StepRecord(
        name=command.name,
        attempt=command.retry_of + 1,
        status=StepStatus.BEGUN,
        first_position=record.first_position if record is not None else event.position,
        begun_seq=event.seq,
        begun_position=event.position,
        begun_unix_ms=event.time_unix_ms,
        actor=command.actor,
        epoch=command.epoch,
    )
    tables.steps.save(log.number, begun)
    return Applied(StepDecided(event.position, begun, is_granted=True), (event,))


def _as_it_is(tables: Tables, record: StepRecord, begun_position: int = 0) -> Applied:
    """The answer to who begins a step that was begun before. `begun_position`: where the first try of this request
    began it, if it did; it is still granted that attempt while nothing came of it."""
    is_ours = record.begun_position == begun_position
    is_granted = is_ours and record.status is StepStatus.BEGUN
    position = record.ended_position or record.begun_position
    return Applied(StepDecided(position, record, is_granted, _end_of(tables, record), replayed=is_ours))


def _end_of(tables: Tables, record: StepRecord) -> MutationDecided | None:
    event = tables.event(record.ended_position) if record.ended_position else None
    return event if isinstance(event, MutationDecided) else None


def _end_step(tables: Tables, command: EndStep) -> Applied:
    log = rules.find_log(tables, command.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided)
    record = tables.steps.newest(log, command.name)
    if known is not None and record is not None:
        return Applied(
            StepDecided(known[0].position, record, is_granted=False, end=_end_of(tables, record), replayed=True)
        )
    leases.check_epoch(tables, command.target, command.epoch)
    if record is None:
        raise step_not_found(command.name)
    if record.attempt != command.attempt or record.status is not StepStatus.BEGUN:
        raise _step_conflict(record, command.attempt)
    event = _record(tables, log, command)
    ended = record._replace(
        status=StepStatus.FAILED if command.has_failed else StepStatus.COMPLETED,
        ended_seq=event.seq,
        ended_position=event.position,
        ended_unix_ms=event.time_unix_ms,
    )
    tables.steps.save(log.number, ended)
    return Applied(StepDecided(event.position, ended, is_granted=False, end=event), (event,))


def _begin_turn(tables: Tables, command: BeginTurn) -> Applied:
    log = _log_or_new(tables, command.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided)
    if known is not None:
        return _turn_decided(known[0], known[0].seq, replayed=True)
    leases.check_epoch(tables, command.target, command.epoch)
    _check_open(tables, log, command.abandons)
    event = _record(tables, log, command)
    tables.steps.save_turn(log.number, TurnRecord(event.seq, event.position))
    return _turn_decided(event, event.seq)


def _end_turn(tables: Tables, command: EndTurn) -> Applied:
    log = rules.find_log(tables, command.target)
    known = rules.recall(tables, log, command.idempotency, MutationDecided)
    if known is not None:
        return _turn_decided(known[0], command.turn, replayed=True)
    leases.check_epoch(tables, command.target, command.epoch)
    turn = _check_open(tables, log, command.turn)
    if turn is None:
        raise _turn_conflict(0, command.turn)
    event = _record(tables, log, command)
    tables.steps.save_turn(log.number, replace(turn, ended_seq=event.seq, ended_position=event.position))
    return _turn_decided(event, command.turn)


def _check_open(tables: Tables, log: LogRecord, named: int) -> TurnRecord | None:
    """The open turn, if there is one. Raises `Conflict` (`TURN_CONFLICT`) unless it is the one named, 0 for none."""
    turn = tables.steps.newest_turn(log)
    is_open = turn is not None and not turn.ended_seq
    found = turn.begun_seq if turn is not None and is_open else 0
    if found != named:
        raise _turn_conflict(found, named)
    return turn if is_open else None


def _turn_decided(event: MutationDecided, turn: int, *, replayed: bool = False) -> Applied:
    outcome = TurnDecided(event.position, turn, event.seq, event.time_unix_ms, replayed)
    return Applied(outcome) if replayed else Applied(outcome, (event,))


def _log_or_new(tables: Tables, target: Target) -> LogRecord:
    """The log, or the one that begins with this mutation; `main` alone begins so."""
    log = tables.log(target)
    if log is None and target.branch != MAIN:
        raise rules.branch_not_found(target)
    return log or LogRecord(number=tables.last_log + 1, target=target)


def _record(tables: Tables, log: LogRecord, command: StepCommand) -> MutationDecided:
    """The command's mutation joins the log; the state stays as it is.

    Raises:
        NotFound: `PAYLOAD_NOT_FOUND`; nothing was changed.
    """
    mutations = (command.mutation,)
    payloads.check_mutations(tables, command.target.namespace, mutations)
    document = tables.document(log) if log.number <= tables.last_log else Document.empty()
    (event,) = decide_mutations(log, tables.position, command.time_unix_ms, command.actor, mutations)
    log = rules.remember(tables, log, command.idempotency, event.position, len(mutations))
    tables.add_mutations(log.number, [event])
    observe(tables, log, mutations, [event])
    tables.save_log(advanced(log, event, mutations, document), document)
    payloads.refer_mutations(tables, log.number, [event], mutations)
    return event


def step_not_found(name: str) -> NotFound:
    """The step was never begun."""
    return NotFound(f"step {name!r} was never begun", reason=Reason.STEP_NOT_FOUND, metadata={"step": name})


def _step_conflict(record: StepRecord, attempt: int) -> Conflict:
    status = record.status.name.lower()
    return Conflict(
        f"attempt {attempt} at step {record.name!r} is not under way: attempt {record.attempt} is {status}",
        reason=Reason.STEP_CONFLICT,
        metadata={"step": record.name, "attempt": str(record.attempt), "status": status},
    )


def _turn_conflict(found: int, named: int) -> Conflict:
    what = f"the turn that began at {found} is open" if found else "no turn is open"
    return Conflict(
        f"{what}, and {f'that at {named}' if named else 'none'} was named",
        reason=Reason.TURN_CONFLICT,
        metadata={"turn": str(found)},
    )
