"""Steps and turns against a model of a few dicts, and against themselves: batched otherwise, restarted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

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

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def keyed(command: StepCommand, key: Key) -> StepCommand:
    (decoded,) = decode_commands(encode_request(command, key))
    assert isinstance(decoded, BeginStep | EndStep | BeginTurn | EndTurn)
    return decoded


def begin(name: str, retry_of: int, key: Key) -> StepCommand:
    mutation = begun_mutation(name, retry_of + 1, b"", "")
    return keyed(BeginStep(START_MS, target(), name, retry_of, mutation, actor="me"), key)


def complete(name: str, attempt: int, key: Key) -> StepCommand:
    mutation = completed_mutation(name, attempt, b"%d" % attempt, "")
    return keyed(EndStep(START_MS, target(), name, attempt, has_failed=False, mutation=mutation), key)


def fail(name: str, attempt: int, key: Key) -> StepCommand:
    mutation = failed_mutation(name, attempt, Failure("ValueError", "no"), "")
    return keyed(EndStep(START_MS, target(), name, attempt, has_failed=True, mutation=mutation), key)


def begin_turn(abandons: int, key: Key) -> StepCommand:
    return keyed(BeginTurn(START_MS, target(), abandons, turn_begun_mutation(abandons, b"", "")), key)


def end_turn(turn: int, key: Key) -> StepCommand:
    return keyed(EndTurn(START_MS, target(), turn, turn_ended_mutation(turn, b"", "")), key)


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

    def newest(self, name: str) -> int:
        """The newest attempt at a step; 0: it was never begun."""
        return len(self.attempts.get(name, ()))

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


class Intent(NamedTuple):
    """What somebody is about to do, whatever the state is then. `back`: how many commands ago, if it comes again."""

    verb: str
    name: str
    key: Key
    back: int


VERBS: dict[str, Callable[[Model, Intent], AnyCommand]] = {
    "begin": lambda model, intent: begin(intent.name, 0, intent.key),
    "retry": lambda model, intent: begin(intent.name, model.newest(intent.name), intent.key),
    "retry of another": lambda model, intent: begin(intent.name, model.newest(intent.name) + 1, intent.key),
    "complete": lambda model, intent: complete(intent.name, model.newest(intent.name) or 1, intent.key),
    "complete late": lambda model, intent: complete(intent.name, max(1, model.newest(intent.name) - 1), intent.key),
    "fail": lambda model, intent: fail(intent.name, model.newest(intent.name) or 1, intent.key),
    "turn": lambda model, intent: begin_turn(0, intent.key),
    "abandon": lambda model, intent: begin_turn(model.turn, intent.key),
    "abandon another": lambda model, intent: begin_turn(model.turn + 1, intent.key),
    "end turn": lambda model, intent: end_turn(model.turn or 1, intent.key),
    "end another": lambda model, intent: end_turn(model.turn + 1, intent.key),
    "append": lambda model, intent: append([set_op("/n", str(intent.back))]),
}
"""What an intent becomes, knowing what the model knows."""
FIRST = [Intent("append", "", "", 1), Intent("begin", "s1", "k1", 1)]
INTENTS = st.builds(
    Intent,
    st.sampled_from([*VERBS, *["begin", "retry", "complete"] * 3, "fail", "end turn", "again", "again", "delete"]),
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(["", "", "", "", "k1", "k2"]),
    st.integers(1, 5),
)


def command_of(model: Model, intent: Intent, before: list[AnyCommand]) -> AnyCommand:
    """`before`: the commands until now, of which one may come again."""
    if intent.verb == "delete":
        return delete_agent()
    if intent.verb == "again":
        return before[-min(intent.back, len(before))] if before else append([set_op("/n", "0")])
    return VERBS[intent.verb](model, intent)


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


@given(st.lists(INTENTS, min_size=10, max_size=50), st.data())
@SETTINGS
def test_equals_the_model_however_batched(intents: list[Intent], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "one.db", state_cache_bytes=0)
        model = Model()
        history: list[AnyCommand] = []
        singly: list[Applied] = []
        for index, intent in enumerate([*FIRST, *intents], start=1):
            history.append(command := command_of(model, intent, history))
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
