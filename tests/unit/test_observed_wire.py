"""What requests say was read: its form is checked, it is no part of what tells a request, and it goes with commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.errors import Invalid, Reason
from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AgentCommand,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    EndStep,
    EndTurn,
    Mutation,
    Part,
    StepCommand,
    Transact,
)
from tallystick_node.core.observation_records import SeenLog
from tallystick_node.wire.commands import decode_commands, encode_command, encode_request, fingerprint
from tallystick_node.wire.mutations import admit_mutation, admit_mutations, decode_mutation
from tallystick_node.wire.observations import bare
from tallystick_node.wire.step_mutations import begun_mutation, completed_mutation, turn_begun_mutation
from tallystick_node.wire.team_commands import keyed_transaction
from tests.unit.database_support import START_MS, target

READ = common_pb2.Observed(
    logs=[common_pb2.ObservedLog(agent="a", seq=3, hash=b"h" * 32), common_pb2.ObservedLog(agent="a", branch="b")],
    contexts=[common_pb2.ObservedContext(name="plan", guid=bytes(16), cursor=b"c")],
)


def log(agent: str = "a", branch: str = "", hash_: bytes = b"") -> common_pb2.ObservedLog:
    return common_pb2.ObservedLog(agent=agent, branch=branch, seq=1, hash=hash_)


def context(name: str = "plan", guid: bytes = b"", cursor: bytes = b"") -> common_pb2.ObservedContext:
    return common_pb2.ObservedContext(name=name, guid=guid, cursor=cursor)


@pytest.mark.parametrize(
    ("observed", "reason", "field"),
    [
        (common_pb2.Observed(logs=[log("")]), Reason.INVALID_NAME, "observed.logs.agent"),
        (common_pb2.Observed(logs=[log(branch="no name")]), Reason.INVALID_NAME, "observed.logs.branch"),
        (common_pb2.Observed(logs=[log(hash_=bytes(33))]), Reason.TOO_LARGE, "observed.logs.hash"),
        (common_pb2.Observed(logs=[log(), log(branch="main")]), Reason.INVALID_REQUEST, "observed.logs"),
        (
            common_pb2.Observed(logs=[log(f"a{at}") for at in range(limits.OBSERVED_LOGS + 1)]),
            Reason.TOO_LARGE,
            "observed.logs",
        ),
        (common_pb2.Observed(contexts=[context("")]), Reason.INVALID_NAME, "observed.contexts.name"),
        (common_pb2.Observed(contexts=[context(guid=bytes(17))]), Reason.TOO_LARGE, "observed.contexts.guid"),
        (
            common_pb2.Observed(contexts=[context(cursor=bytes(limits.OBSERVED_CURSOR_BYTES + 1))]),
            Reason.TOO_LARGE,
            "observed.contexts.cursor",
        ),
        (common_pb2.Observed(contexts=[context(), context()]), Reason.INVALID_REQUEST, "observed.contexts"),
        (
            common_pb2.Observed(contexts=[context(f"c{at}") for at in range(limits.OBSERVED_CONTEXTS + 1)]),
            Reason.TOO_LARGE,
            "observed.contexts",
        ),
    ],
)
def test_a_bad_form_is_refused(observed: common_pb2.Observed, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as mutation:
        admit_mutation(state_pb2.Mutation(kind="note", observed=observed))
    assert (mutation.value.reason, mutation.value.metadata["field"]) == (reason, field)
    with pytest.raises(Invalid):
        begun_mutation("s", 1, b"", "", observed)
    with pytest.raises(Invalid):
        encode_command(Checkpoint(START_MS, target(), "c", observed=observed.SerializeToString()))


def test_what_was_admitted_is_read_back() -> None:
    admitted = admit_mutation(state_pb2.Mutation(kind="note", observed=READ))
    assert admitted.observed == (SeenLog("a", "main", 3, b"h" * 32), SeenLog("a", "b", 0))
    assert decode_mutation(admitted.raw) == admitted
    assert decode_mutation(admit_mutation(state_pb2.Mutation(kind="note")).raw).observed is None
    taken = Checkpoint(START_MS, target(), "c", observed=READ.SerializeToString())
    assert decode_commands(encode_command(taken)) == [taken]


def note(observed: common_pb2.Observed | None) -> Mutation:
    return admit_mutation(state_pb2.Mutation(kind="note", payload=b"1", observed=observed))


def commands(observed: common_pb2.Observed | None) -> list[AgentCommand | StepCommand]:
    said = observed.SerializeToString() if observed is not None else b""
    return [
        Append(START_MS, target(), (note(observed), note(None))),
        Checkpoint(START_MS, target(), "c", observed=said),
        BeginStep(START_MS, target(), "s", 0, begun_mutation("s", 1, b"", "", observed)),
        EndStep(START_MS, target(), "s", 1, has_failed=False, mutation=completed_mutation("s", 1, b"1", "", observed)),
        BeginTurn(START_MS, target(), 0, turn_begun_mutation(0, b"", "", observed)),
        EndTurn(START_MS, target(), 1, note(observed)),
    ]


@pytest.mark.parametrize("at", range(6))
def test_a_request_is_the_same_whatever_was_read(at: int) -> None:
    silent, said = commands(None)[at], commands(READ)[at]
    assert fingerprint(silent) == fingerprint(said)
    assert bare(said) == silent
    assert bare(silent) is silent
    (decoded,) = decode_commands(encode_request(said, "key"))
    assert isinstance(decoded, type(said))
    assert decoded.idempotency is not None
    assert decoded.idempotency.fingerprint == fingerprint(silent)
    assert replace(decoded, idempotency=None) == said


def test_a_transaction_is_too() -> None:
    keyed = [
        keyed_transaction(Transact(START_MS, (Part(target(), (note(observed),)),)), "key") for observed in (None, READ)
    ]
    fingerprints = [each.idempotency.fingerprint for each in keyed if each.idempotency is not None]
    assert len(fingerprints) == 2
    assert fingerprints[0] == fingerprints[1]
    assert keyed[1].parts[0].mutations[0].observed


def test_what_one_append_looks_up_is_bounded() -> None:
    """Each log that was read is looked up while the loop stands still."""
    read = common_pb2.Observed(logs=[log(f"a{at}") for at in range(limits.OBSERVED_LOGS)])
    message = state_pb2.Mutation(kind="note", observed=read)
    most = limits.APPEND_OBSERVED_LOGS // limits.OBSERVED_LOGS
    assert len(admit_mutations([message] * most)) == most
    with pytest.raises(Invalid) as refused:
        admit_mutations([message] * (most + 1))
    assert (refused.value.reason, refused.value.metadata["field"]) == (Reason.TOO_LARGE, "observed.logs")
