"""The database against a model that copies everything, and against itself: batched otherwise, crashed, uncached."""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import AgentCommand, Append, Operation, OperationKind
from tallystick_node.core.outcomes import Appended, Checkpointed, Deleted, Refusal
from tallystick_node.core.values import canonical_json, digest_json, json_size
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import AtCheckpoint, AtSeq, Head
from tests.property.json_model import Json, Misfit, apply_model
from tests.property.replicas import check_replicas
from tests.unit.database_support import append, checkpoint, delete_agent, target

AGENTS = ("a", "b")
TOKENS = st.sampled_from(["x", "y", "0", "1", "-", "~/"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**63), st.floats(-10, 10), st.text('aé"\\', max_size=3))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TOKENS, inner, max_size=3)),
    max_leaves=6,
)
KEYS = st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"]))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from(OperationKind))
    tokens = tuple(draw(st.lists(TOKENS, max_size=3)))
    value: Json = draw(VALUES)
    if kind is OperationKind.REPLACE:
        tokens = ()
    if kind in {OperationKind.DELETE, OperationKind.INSERT} and not tokens:
        kind = OperationKind.SET
    if kind is OperationKind.INSERT:
        tokens = (*tokens[:-1], draw(st.sampled_from(["0", "1", "-"])))
    if kind is OperationKind.INCREMENT:
        value = draw(st.one_of(st.integers(-3, 3), st.floats(-2, 2)))
    return Operation(kind, tokens, b"" if kind is OperationKind.DELETE else canonical_json(value))


MUTATIONS = st.lists(st.lists(operations(), min_size=1, max_size=2), min_size=1, max_size=2)
AGENT = st.sampled_from(AGENTS)
APPENDS = st.builds(
    lambda mutations, agent, key, seq, time: append(*mutations, agent=agent, key=key, expected_seq=seq, time_ms=time),
    MUTATIONS,
    AGENT,
    KEYS,
    st.sampled_from([None, None, None, None, None, 2]),
    st.integers(1000, 1005),
)
CHECKPOINTS = st.builds(
    lambda name, agent, key: checkpoint(name, agent=agent, key=key), st.sampled_from(["c1", "c2"]), AGENT, KEYS
)
DELETIONS = st.builds(lambda agent, key: delete_agent(agent, key=key), AGENT, KEYS)
COMMANDS = st.sampled_from([*[APPENDS] * 8, CHECKPOINTS, CHECKPOINTS, DELETIONS]).flatmap(lambda commands: commands)
FIRST = Operation(OperationKind.REPLACE, (), b'{"x":{"x":[1,{"y":2}],"y":{}},"y":[0,[],{"x":"s"}],"0":7}')
# Every third command comes again at the end: those with a key are retries.
HISTORIES = st.lists(COMMANDS, min_size=8, max_size=25).map(
    lambda commands: [*[append([FIRST], agent=agent) for agent in AGENTS], *commands, *commands[::3]]
)
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class ModelAgent:
    """All states of an agent, and its checkpoints, as copies."""

    states: list[Json] = field(default_factory=lambda: [{}])
    checkpoints: dict[str, int] = field(default_factory=dict)


@given(HISTORIES)
@SETTINGS
def test_equals_the_model_at_every_seq(history: list[AgentCommand]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "state.db", state_cache_bytes=0)
        model: dict[str, ModelAgent] = {}
        positions = 0
        for command in history:
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            for event in applied.events:
                positions += 1
                assert event.position == positions
            _follow(model, command, applied.outcome)
        _compare(database, model)
        database.close()


def _follow(model: dict[str, ModelAgent], command: AgentCommand, outcome: object) -> None:
    """Let the model do what the database said it did, and check that it could."""
    name = command.target.agent
    if isinstance(outcome, Refusal):
        if isinstance(command, Append) and outcome.reason == "INVALID_OPERATION":
            assert _fold(model.get(name, ModelAgent()), command) is None
        return
    assert isinstance(outcome, (Appended, Checkpointed, Deleted))
    if outcome.replayed:
        return
    if isinstance(outcome, Deleted):
        del model[name]
    elif isinstance(outcome, Checkpointed):
        states = model[name].states
        assert outcome.checkpoint.seq == len(states) - 1
        assert outcome.checkpoint.state_digest == digest_json(states[-1])
        model[name].checkpoints[outcome.checkpoint.name] = outcome.checkpoint.seq
    else:
        assert isinstance(command, Append)
        agent = model.setdefault(name, ModelAgent())
        states_after = _fold(agent, command)
        assert states_after is not None
        assert outcome.first_seq == len(agent.states)
        agent.states.extend(states_after)
        assert outcome.last_seq == len(agent.states) - 1


def _fold(agent: ModelAgent, command: Append) -> list[Json] | None:
    state = agent.states[-1]
    states = []
    try:
        for mutation in command.mutations:
            state = copy.deepcopy(state)
            for operation in mutation.operations:
                value: Json = json.loads(operation.value) if operation.value else None
                state = apply_model(state, operation.kind, operation.tokens, value)
            states.append(state)
    except Misfit:
        return None
    return states


def _compare(database: Database, model: dict[str, ModelAgent]) -> None:
    assert [log.target.agent for log in database.reads.agents("demo", "", "", 10).items] == sorted(model)
    assert database.reads.agent_count == len(model)
    for name, agent in model.items():
        for seq, state in enumerate(agent.states):
            assert database.reads.read_state(target(name), AtSeq(seq)).state == canonical_json(state)
        head = database.reads.read_state(target(name), Head())
        assert head.state == canonical_json(agent.states[-1])
        assert database.reads.log(target(name)).state_bytes == json_size(agent.states[-1])
        for checkpoint_name, seq in agent.checkpoints.items():
            read = database.reads.read_state(target(name), AtCheckpoint(checkpoint_name))
            assert read.seq == seq
            assert read.checkpoint is not None


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_caches_and_crashes_change_nothing(history: list[AgentCommand], data: st.DataObject) -> None:
    check_replicas(history, data, term_at=lambda index: 1 + index // 4)
