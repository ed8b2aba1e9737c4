"""Steps and turns against a model of a few dicts, and against themselves: batched otherwise, restarted."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import (
    AgentCommand,
    BeginStep,
    BeginTurn,
    DeleteAgent,
    EndStep,
    EndTurn,
    Idempotency,
    StepCommand,
)
from tallystick_node.core.outcomes import Applied, Refusal, StepDecided, StepStatus, TurnDecided
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import AtLastTurn
from tallystick_node.storage.verify import verify
from tallystick_node.wire.commands import decode_commands, encode_request
from tallystick_node.wire.step_mutations import (
    Failure,
    begun_mutation,
    completed_mutation,
    failed_mutation,
    turn_begun_mutation,
    turn_ended_mutation,
)
from tests.unit.database_support import START_MS, append, delete_agent, rows_digest, set_op, target

Key: TypeAlias = str
AnyCommand: TypeAlias = AgentCommand | StepCommand

NAMES = st.sampled_from(["s1", "s2", "s3"])
NUMBERS = st.integers(0, 4)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def keyed(command: StepCommand, key: Key) -> StepCommand:
    (decoded,) = decode_commands(encode_request(command, key))
    assert isinstance(decoded, BeginStep | EndStep | BeginTurn | EndTurn)
    return decoded


def begin(name: str, retry_of: int, key: Key) -> StepCommand:
    mutation = begun_mutation(name, retry_of + 1, b"", "")
    return keyed(BeginStep(START_MS, target(), name, retry_of, mutation, actor="me"), key)


def end(name: str, attempt: int, number: int, key: Key) -> StepCommand:
    attempt += 1
    if number % 3 == 0:
        failed = failed_mutation(name, attempt, Failure("ValueError", str(number)), "")
        return keyed(EndStep(START_MS, target(), name, attempt, has_failed=True, mutation=failed), key)
    completed = completed_mutation(name, attempt, b"%d" % number, "")
    return keyed(EndStep(START_MS, target(), name, attempt, has_failed=False, mutation=completed), key)


def begin_turn(abandons: int, key: Key) -> StepCommand:
    return keyed(BeginTurn(START_MS, target(), abandons, turn_begun_mutation(abandons, b"", "")), key)


def end_turn(turn: int, key: Key) -> StepCommand:
    turn += 1
    return keyed(EndTurn(START_MS, target(), turn, turn_ended_mutation(turn, b"", "")), key)


KEYS = st.sampled_from(["", "", "k1", "k2"])
COMMANDS: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(begin, NAMES, NUMBERS.map(lambda number: number // 2), KEYS),
    st.builds(begin, NAMES, st.just(0), KEYS),
    st.builds(end, NAMES, NUMBERS.map(lambda number: number // 2), NUMBERS, KEYS),
    st.builds(begin_turn, st.one_of(st.just(0), st.integers(0, 12)), KEYS),
    st.builds(end_turn, st.integers(0, 12), KEYS),
    st.builds(lambda number: append([set_op("/n", str(number))]), NUMBERS),
    st.sampled_from([*[append([set_op("/n", "9")])] * 3, delete_agent()]),
)
# Every third command comes again at the end: those with a key are retries.
HISTORIES = st.lists(COMMANDS, min_size=5, max_size=30).map(lambda commands: [*commands, *commands[::3]])


@dataclass
class Model:
    """What an agent's steps and turns are: the attempts at each step, each with what came of it."""

    attempts: dict[str, list[StepStatus]] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    keys: dict[Key, tuple[bytes, str, int]] = field(default_factory=dict)
    seq: int = 0
    turn: int = 0
    turn_end: int = 0

    def follow(self, command: AnyCommand, applied: Applied) -> None:
        """Does what was decided, having checked that it could be."""
        outcome = applied.outcome
        if isinstance(command, BeginStep | EndStep | BeginTurn | EndTurn):
            self._check_key(command, applied)
        if isinstance(outcome, Refusal):
            if isinstance(command, BeginTurn) and outcome.reason == "TURN_CONFLICT":
                assert command.abandons != self.turn
            if isinstance(command, EndTurn) and outcome.reason == "TURN_CONFLICT":
                assert command.turn != self.turn or not self.turn
            return
        self.seq += len(applied.events)
        match outcome:
            case StepDecided() if isinstance(command, BeginStep):
                self._begun(command, outcome, is_new=bool(applied.events))
            case StepDecided() if isinstance(command, EndStep):
                self._ended(command, outcome, is_new=bool(applied.events))
            case TurnDecided() if applied.events:
                self._turned(command)

    def _check_key(self, command: StepCommand, applied: Applied) -> None:
        """A key has one effect."""
        known = self._known(command.idempotency)
        if known is not None:
            assert applied.events == ()
        elif command.idempotency is not None and applied.events:
            self.keys[command.idempotency.key] = (command.idempotency.fingerprint, type(command).__name__, self.seq + 1)

    def _known(self, idempotency: Idempotency | None) -> tuple[bytes, str, int] | None:
        return self.keys.get(idempotency.key) if idempotency is not None else None

    def _begun(self, command: BeginStep, outcome: StepDecided, *, is_new: bool) -> None:
        attempts = self.attempts.setdefault(command.name, [])
        if is_new:
            assert outcome.is_granted
            assert len(attempts) == command.retry_of
            assert not attempts or attempts[-1] is not StepStatus.COMPLETED
            attempts.append(StepStatus.BEGUN)
            self.effects.setdefault(command.name, outcome.record.first_position)
        assert outcome.record.first_position == self.effects[command.name]
        assert (outcome.record.attempt, outcome.record.status) == (len(attempts), attempts[-1])
        assert outcome.is_granted <= (attempts[-1] is StepStatus.BEGUN)

    def _ended(self, command: EndStep, outcome: StepDecided, *, is_new: bool) -> None:
        attempts = self.attempts[command.name]
        if is_new:
            assert (command.attempt, attempts[-1]) == (len(attempts), StepStatus.BEGUN)
            attempts[-1] = StepStatus.FAILED if command.has_failed else StepStatus.COMPLETED
            self.results[command.name] = command.mutation.raw
        assert (outcome.record.attempt, outcome.record.status) == (len(attempts), attempts[-1])

    def _turned(self, command: AnyCommand) -> None:
        if isinstance(command, BeginTurn):
            assert command.abandons == self.turn
            self.turn = self.seq
        else:
            assert isinstance(command, EndTurn)
            assert command.turn == self.turn
            self.turn, self.turn_end = 0, self.seq


def compare(database: Database, model: Model) -> None:
    log = database.reads.log(target())
    page = database.reads.steps.steps(target(), "", 10, with_ends=True)
    assert [(read.record.name, read.record.attempt, read.record.status) for read in page.items] == [
        (name, len(attempts), attempts[-1]) for name, attempts in sorted(model.attempts.items()) if attempts
    ]
    for record, ended in page.items:
        assert database.reads.steps.step(target(), record.name) == (record, ended)
        assert (ended.raw if ended is not None else None) == (
            model.results[record.name] if record.status is not StepStatus.BEGUN else None
        )
    assert (log.seq, database.reads.steps.open_turn(log)) == (model.seq, model.turn)
    assert database.reads.read_state(target(), AtLastTurn()).seq == model.turn_end


@given(HISTORIES, st.data())
@SETTINGS
def test_equals_the_model_however_batched(history: list[AnyCommand], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "one.db", state_cache_bytes=0)
        model = Model()
        singly = []
        for index, command in enumerate(history, start=1):
            ((applied,),) = database.apply([(index, 1, [command], None)])
            singly.append(applied)
            if isinstance(command, DeleteAgent) and applied.events:
                model = Model()
            else:
                model.follow(command, applied)
        if model.seq:
            compare(database, model)
        verify(database._sql)
        other = Database.open(Path(folder) / "other.db")
        together: list[Applied] = []
        while other.applied_index < len(history):
            first = other.applied_index
            size = data.draw(st.integers(1, len(history)))
            entries = [
                (index + 1, 1, [history[index]], None) for index in range(first, min(first + size, len(history)))
            ]
            together += [applied for results in other.apply(entries) for applied in results]
            if data.draw(st.booleans()):
                other.close()
                other = Database.open(Path(folder) / "other.db")
        assert together == singly
        assert other.digest == database.digest
        assert rows_digest(other.path) == rows_digest(database.path)
        other.close()
        database.close()
