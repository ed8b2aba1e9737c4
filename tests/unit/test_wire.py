"""The wire: what comes in is checked with reasons, what goes out comes back the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.errors import Invalid, Reason
from tallystick.log.v1 import log_pb2
from tallystick.v1 import state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AcquireLease,
    AgentCommand,
    AllocateWriters,
    Append,
    BranchCommand,
    Checkpoint,
    Command,
    ContextCommand,
    CreateContext,
    DeleteAgent,
    DeleteBranch,
    DeleteContext,
    ExpireLease,
    Fork,
    ForkTeam,
    Idempotency,
    LeaseCommand,
    Part,
    ReleaseLease,
    RenewLease,
    SaveVersion,
    SealContext,
    SeenContext,
    StartEpoch,
    TakeTeamCheckpoint,
    Target,
    TeamCommand,
    Transact,
)
from tallystick_node.core.schema_records import Compatibility, RegisterSchema, SchemaOf, Subject
from tallystick_node.wire.branch_commands import keyed_fork
from tallystick_node.wire.commands import (
    decode_commands,
    encode_command,
    encode_request,
    fingerprint,
    join_commands,
)
from tallystick_node.wire.errors import Malformed, UnsupportedFormat
from tallystick_node.wire.mutations import admit_mutation, admit_mutations, decode_mutation
from tallystick_node.wire.team_commands import keyed_checkpoint, keyed_transaction

SET = state_pb2.OPERATION_KIND_SET
GUID = bytes(range(16))
KEY = Idempotency("key", b"f" * 16)


def operation(
    kind: state_pb2.OperationKind.ValueType = SET, path: str = "/x", value: bytes = b"1"
) -> state_pb2.Operation:
    return state_pb2.Operation(kind=kind, path=path, value=value)


def mutation(*operations: state_pb2.Operation, kind: str = "", payload: bytes = b"") -> state_pb2.Mutation:
    return state_pb2.Mutation(kind=kind, operations=operations, payload=payload, cause="tool:copy#17", trace_id="t")


COMMANDS: list[AgentCommand] = [
    Append(7, Target("n", "a"), admit_mutations([mutation(operation()), mutation(kind="seen", payload=b"{}")])),
    Append(7, Target("n", "a", "b"), admit_mutations([mutation(operation())]), KEY, 0, 3, "me"),
    Checkpoint(7, Target("n", "a"), "c1"),
    Checkpoint(7, Target("n", "a"), "c1", 2**63 - 1, b'{"a":1}', b"[1]", KEY, 9, 1, "me"),
    DeleteAgent(7, Target("n", "a")),
    DeleteAgent(7, Target("n", "a"), KEY, 0, "me", 5),
]


CONTEXT_COMMANDS: list[ContextCommand] = [
    CreateContext(7, "n", "c", GUID),
    CreateContext(7, "n", "c", GUID, b"{}", b"seed", "me"),
    DeleteContext(7, "n", "c"),
    DeleteContext(7, "n", "c", GUID, "me"),
    AllocateWriters(7, "n", 16, "me"),
    SealContext(7, GUID, 3, "me"),
    StartEpoch(7, GUID, 4, 99, b"base", "me"),
    StartEpoch(7, GUID, 4, 99),
    SaveVersion(7, GUID, 3, "v1", b"cursor", b"content"),
    SaveVersion(7, GUID, 3, "v1", b"cursor", b"content", Target("n", "a", "b"), "c1", "me"),
]


LEASE_COMMANDS: list[LeaseCommand] = [
    AcquireLease(7, Target("n", "a"), "w#1", 1000),
    AcquireLease(7, Target("n", "a", "b"), "é" * 100, 3_600_000, "me"),
    RenewLease(7, Target("n", "a"), 3),
    ReleaseLease(7, Target("n", "a"), 3, "me"),
    ExpireLease(7, Target("n", "a", "b"), 3, 2**40),
]


BRANCH_COMMANDS: list[BranchCommand] = [
    Fork(7, Target("n", "a"), "b"),
    Fork(7, Target("n", "a", "b"), "c", 0, KEY, "me"),
    ForkTeam(7, "n", "", "b", 9),
    ForkTeam(7, "n", "team/", "c", 9, "b", KEY, "me"),
    DeleteBranch(7, Target("n", "a", "b")),
    DeleteBranch(7, Target("n", "a", "b"), KEY, 0, 3, "me"),
]


ONE = admit_mutations([mutation(operation())])
TEAM_COMMANDS: list[TeamCommand] = [
    Transact(7, (Part(Target("n", "a"), ONE),)),
    Transact(7, (Part(Target("n", "a"), ONE * 2, 0, 3), Part(Target("n", "a", "b"), ONE, 9)), KEY, "me"),
    TakeTeamCheckpoint(7, "n", "cut", b"f" * 16),
    TakeTeamCheckpoint(7, "n", "cut", b"f" * 16, prefix="team/", branch="b", metadata=b"{}", actor="me"),
    TakeTeamCheckpoint(
        7, "n", "cut", b"", (Target("n", "a"), Target("n", "a", "b")), contexts=(SeenContext("c", b"x"),)
    ),
]


SCHEMA_COMMANDS: list[Command] = [
    RegisterSchema(7, "n", Subject(SchemaOf.EVENT, "deploy"), 1, b"{}"),
    RegisterSchema(7, "n", Subject(SchemaOf.STATE, ""), 3, b'{"type":"object"}', Compatibility.NONE, "me"),
    Append(7, Target("n", "a"), ONE, KEY, 0, 3, "me", 9, b""),
    Append(7, Target("n", "a"), ONE, schemas=9, head=b"h" * 32),
    Transact(7, (Part(Target("n", "a"), ONE, head=b"h" * 32), Part(Target("n", "b"), ONE, head=b"")), KEY, "me", 9),
]


@pytest.mark.parametrize(
    "command", [*COMMANDS, *CONTEXT_COMMANDS, *LEASE_COMMANDS, *BRANCH_COMMANDS, *TEAM_COMMANDS, *SCHEMA_COMMANDS]
)
def test_commands_round_trip(command: Command) -> None:
    assert decode_commands(encode_command(command)) == [command]


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        (mutation(), Reason.INVALID_REQUEST, "operations"),
        (mutation(operation(), payload=b"1"), Reason.INVALID_REQUEST, "payload"),
        (mutation(operation(), kind="seen"), Reason.INVALID_REQUEST, "operations"),
        (mutation(kind="seen", payload=b"x"), Reason.INVALID_JSON, "payload"),
        (mutation(kind="no spaces"), Reason.INVALID_NAME, "kind"),
        (mutation(kind="step.begun"), Reason.INVALID_REQUEST, "kind"),
        (mutation(kind="turn.of-mine", payload=b"{}"), Reason.INVALID_REQUEST, "kind"),
        (mutation(*[operation()] * (limits.MUTATION_OPERATIONS + 1)), Reason.TOO_LARGE, "operations"),
        (mutation(operation(value=b'"' + b"x" * limits.MUTATION_BYTES + b'"')), Reason.TOO_LARGE, "mutation"),
        (state_pb2.Mutation(operations=[operation()], cause="é" * 600), Reason.TOO_LARGE, "cause"),
        (state_pb2.Mutation(operations=[operation()], trace_id="x" * 129), Reason.TOO_LARGE, "trace_id"),
        (state_pb2.Mutation(operations=[operation()], id=bytes(17)), Reason.TOO_LARGE, "id"),
        (mutation(operation(state_pb2.OPERATION_KIND_UNSPECIFIED)), Reason.INVALID_OPERATION, "kind"),
        (mutation(operation(path="x")), Reason.INVALID_POINTER, "path"),
        (mutation(operation(value=b"")), Reason.INVALID_JSON, "value"),
        (mutation(operation(value=b"[" * 100 + b"]" * 100)), Reason.TOO_DEEP, "value"),
        (mutation(operation(state_pb2.OPERATION_KIND_DELETE)), Reason.INVALID_OPERATION, "value"),
        (mutation(operation(state_pb2.OPERATION_KIND_DELETE, "", b"")), Reason.INVALID_OPERATION, "path"),
        (mutation(operation(state_pb2.OPERATION_KIND_INSERT, "/x/y")), Reason.INVALID_OPERATION, "path"),
        (mutation(operation(state_pb2.OPERATION_KIND_INSERT, "")), Reason.INVALID_OPERATION, "path"),
        (mutation(operation(state_pb2.OPERATION_KIND_REPLACE)), Reason.INVALID_OPERATION, "path"),
        (mutation(operation(state_pb2.OPERATION_KIND_INCREMENT, value=b"true")), Reason.INVALID_OPERATION, "value"),
    ],
)
def test_refused_mutations(message: state_pb2.Mutation, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        admit_mutation(message)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_admitting_says_which_mutation() -> None:
    with pytest.raises(Invalid) as caught:
        admit_mutations([mutation(operation()), mutation()])
    assert caught.value.metadata["mutation"] == "1"
    with pytest.raises(Invalid) as caught:
        admit_mutations([])
    assert caught.value.reason is Reason.INVALID_REQUEST
    with pytest.raises(Invalid) as caught:
        admit_mutations([mutation(operation())] * (limits.APPEND_MUTATIONS + 1))
    assert caught.value.reason is Reason.TOO_LARGE


def test_what_is_admitted_is_what_is_decoded() -> None:
    admitted = admit_mutation(
        mutation(operation(path="/a~1b/-"), operation(state_pb2.OPERATION_KIND_DELETE, "/x", b""))
    )
    assert decode_mutation(admitted.raw) == admitted
    assert admitted.operations[0].tokens == ("a/b", "-")


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (DeleteAgent(1, Target("", "a")), Reason.INVALID_NAME, "namespace"),
        (DeleteAgent(1, Target("n", ".a")), Reason.INVALID_NAME, "agent"),
        (DeleteAgent(1, Target("n", "a\n")), Reason.INVALID_NAME, "agent"),
        (DeleteAgent(1, Target("n", "é")), Reason.INVALID_NAME, "agent"),
        (DeleteAgent(1, Target("n", "a", "x" * 201)), Reason.INVALID_NAME, "branch"),
        (DeleteAgent(1, Target("n", "a"), actor="x" * 201), Reason.TOO_LARGE, "actor"),
        (DeleteAgent(1, Target("n", "a"), Idempotency("x" * 65, b"")), Reason.TOO_LARGE, "idempotency_key"),
        (DeleteAgent(1, Target("n", "a"), Idempotency("", b"")), Reason.INVALID_REQUEST, "idempotency_key"),
        (Checkpoint(1, Target("n", "a"), ""), Reason.INVALID_NAME, "name"),
        (Checkpoint(1, Target("n", "a"), "c", 2**63), Reason.TOO_LARGE, "step"),
        (Checkpoint(1, Target("n", "a"), "c", metadata=b"[]"), Reason.INVALID_JSON, "metadata"),
        (Checkpoint(1, Target("n", "a"), "c", pending_calls=b"{}"), Reason.INVALID_JSON, "pending_calls"),
        (Checkpoint(1, Target("n", "a"), "c", metadata=b" " * 65537), Reason.TOO_LARGE, "metadata"),
    ],
)
def test_refused_commands(command: Command, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        encode_command(command)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_a_command_has_a_limit() -> None:
    big = mutation(operation(value=b'"' + b"x" * 900_000 + b'"'))
    with pytest.raises(Invalid) as caught:
        encode_command(Append(1, Target("n", "a"), admit_mutations([big] * 3)))
    assert caught.value.metadata == {"field": "command", "limit": str(limits.COMMAND_BYTES), "unit": "bytes"}


def test_fingerprints_are_of_the_request() -> None:
    first = Checkpoint(1, Target("n", "a"), "c")
    others: list[AgentCommand] = [
        Checkpoint(1, Target("n", "b"), "c"),
        Checkpoint(1, Target("n", "a"), "c", expected_seq=0),
        DeleteAgent(1, Target("n", "a")),
    ]
    again = Checkpoint(2, Target("n", "a"), "c", idempotency=KEY, actor="the same agent, restarted")
    assert fingerprint(first) == fingerprint(again)
    assert len({fingerprint(command) for command in (first, *others)}) == 4


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.idempotency is None])
def test_a_request_gets_its_key_and_stays_what_it_is(command: AgentCommand) -> None:
    (decoded,) = decode_commands(encode_request(command, "k" * 32))
    assert isinstance(decoded, Append | Checkpoint | DeleteAgent)
    assert decoded.idempotency == Idempotency("k" * 32, fingerprint(command))
    assert replace(decoded, idempotency=None) == command
    assert encode_request(command, "") == encode_command(command)


def test_a_request_s_key_has_a_limit() -> None:
    with pytest.raises(Invalid) as refused:
        encode_request(COMMANDS[0], "k" * (limits.KEY_BYTES + 1))
    assert refused.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (CreateContext(7, "n", "no spaces", GUID), Reason.INVALID_NAME, "context"),
        (CreateContext(7, "", "c", GUID), Reason.INVALID_NAME, "namespace"),
        (CreateContext(7, "n", "c", GUID[:15]), Reason.INVALID_REQUEST, "guid"),
        (CreateContext(7, "n", "c", GUID, actor="é" * 101), Reason.TOO_LARGE, "actor"),
        (CreateContext(7, "n", "c", GUID, seed=bytes(limits.COMMAND_BYTES)), Reason.TOO_LARGE, "command"),
        (DeleteContext(7, "n", "c", b"short"), Reason.INVALID_REQUEST, "guid"),
        (DeleteContext(7, "n", ""), Reason.INVALID_NAME, "context"),
        (AllocateWriters(7, "n", 0), Reason.INVALID_REQUEST, "count"),
        (AllocateWriters(7, " ", 1), Reason.INVALID_NAME, "namespace"),
        (SealContext(7, b"", 1), Reason.INVALID_REQUEST, "guid"),
        (StartEpoch(7, b"", 1, 1), Reason.INVALID_REQUEST, "guid"),
        (SaveVersion(7, b"", 1, "v", b"", b""), Reason.INVALID_REQUEST, "guid"),
        (SaveVersion(7, GUID, 1, "", b"", b""), Reason.INVALID_NAME, "name"),
        (SaveVersion(7, GUID, 1, "v", b"", b"", Target("n", ""), "c"), Reason.INVALID_NAME, "agent"),
        (SaveVersion(7, GUID, 1, "v", b"", b"", Target("n", "a"), "no spaces"), Reason.INVALID_NAME, "checkpoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_context_command_must_not_be(command: ContextCommand, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        encode_command(command)
    assert (refused.value.reason, refused.value.metadata["field"]) == (reason, field)


def test_what_a_newer_version_wrote_is_not_skipped() -> None:
    with pytest.raises(UnsupportedFormat):
        decode_commands(log_pb2.Command(time_unix_ms=1).SerializeToString())
    with pytest.raises(UnsupportedFormat):
        decode_mutation(mutation(state_pb2.Operation(kind=99)).SerializeToString())  # type: ignore[arg-type]


def test_damaged_commands() -> None:
    with pytest.raises(Malformed):
        decode_commands(b"\xff")


def test_joined_commands_keep_their_order() -> None:
    encoded = [encode_command(command) for command in COMMANDS]
    (batch,) = join_commands(encoded)
    assert decode_commands(batch) == COMMANDS
    assert list(join_commands(encoded[:1])) == encoded[:1], "one alone is no batch"
    assert list(join_commands([])) == []


def test_joined_commands_are_no_larger_than_a_command_may_be() -> None:
    large = mutation(operation(value=b'"' + b"x" * (limits.MUTATION_BYTES - 200) + b'"'))
    encoded = [encode_command(Append(7, Target("n", f"a{n}"), admit_mutations([large]))) for n in range(5)]
    joined = list(join_commands(encoded))
    assert len(joined) >= 3
    assert all(len(data) <= limits.COMMAND_BYTES for data in joined)
    decoded = [
        command.target.agent for data in joined for command in decode_commands(data) if isinstance(command, Append)
    ]
    assert decoded == [f"a{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (AcquireLease(7, Target("n", "a"), "", 1000), Reason.INVALID_REQUEST, "holder"),
        (AcquireLease(7, Target("n", "a"), "é" * 101, 1000), Reason.TOO_LARGE, "holder"),
        (AcquireLease(7, Target("n", "a"), "w", 999), Reason.INVALID_REQUEST, "ttl_ms"),
        (AcquireLease(7, Target("n", "a"), "w", 3_600_001), Reason.TOO_LARGE, "ttl_ms"),
        (AcquireLease(7, Target("n", "a"), "w", 1000, "é" * 101), Reason.TOO_LARGE, "actor"),
        (ReleaseLease(7, Target("n", "a"), 1, "é" * 101), Reason.TOO_LARGE, "actor"),
        (RenewLease(7, Target("n", "a b"), 1), Reason.INVALID_NAME, "agent"),
    ],
)
def test_a_lease_that_breaks_a_rule_is_not_proposed(command: LeaseCommand, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        encode_command(command)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_a_retry_under_another_epoch_is_the_same_request() -> None:
    first = Append(7, Target("n", "a"), admit_mutations([mutation(operation())]), epoch=1)
    second = replace(first, epoch=2)
    assert fingerprint(first) == fingerprint(second)
    (decoded,) = decode_commands(encode_request(second, "key"))
    assert isinstance(decoded, Append)
    assert decoded.epoch == 2
    assert decoded.idempotency == Idempotency("key", fingerprint(first))


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (Fork(7, Target("n", "a", "no spaces"), "b"), "branch"),
        (Fork(7, Target("n", "a"), "no spaces"), "branch"),
        (Fork(7, Target("n", "a"), ""), "branch"),
        (Fork(7, Target("n", "a"), "b", idempotency=Idempotency("k" * 65, b"f" * 16)), "idempotency_key"),
        (ForkTeam(7, "", "", "b", 9), "namespace"),
        (ForkTeam(7, "n", "no spaces", "b", 9), "prefix"),
        (ForkTeam(7, "n", "", "b", 9, source_branch=""), "source_branch"),
        (DeleteBranch(7, Target("n", "a")), "branch"),
    ],
)
def test_what_is_wrong_with_a_branch_is_refused_before_it_is_proposed(command: BranchCommand, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        encode_command(command)
    assert refused.value.metadata["field"] == field


def test_a_fork_is_the_same_request_whatever_seq_it_led_to() -> None:
    at_3 = keyed_fork(Fork(7, Target("n", "a"), "b", 3), "k", "checkpoint c")
    at_5 = keyed_fork(Fork(9, Target("n", "a"), "b", 5, actor="me"), "k", "checkpoint c")
    other = keyed_fork(Fork(7, Target("n", "a"), "b", 3), "k", "seq 3")
    assert at_3.idempotency == at_5.idempotency != other.idempotency
    assert keyed_fork(Fork(7, Target("n", "a"), "b"), "", "head").idempotency is None


PART = Part(Target("n", "a"), ONE)
CUT = TakeTeamCheckpoint(7, "n", "cut", b"")


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (Transact(7, ()), "parts"),
        (Transact(7, tuple(PART._replace(target=Target("n", f"a{at}")) for at in range(101))), "parts"),
        (Transact(7, (PART, PART)), "agent"),
        (Transact(7, (PART, PART._replace(target=Target("other", "a")))), "namespace"),
        (Transact(7, (PART._replace(target=Target("n", "a b")),)), "agent"),
        (replace(CUT, name=""), "name"),
        (replace(CUT, prefix="/"), "prefix"),
        (replace(CUT, metadata=b"[]"), "metadata"),
        (replace(CUT, members=(Target("n", "a"), Target("n", "a"))), "agent"),
        (replace(CUT, members=(Target("other", "a"),)), "namespace"),
        (replace(CUT, members=tuple(Target("n", f"a{at}") for at in range(1001))), "agents"),
        (replace(CUT, contexts=(SeenContext("c", b""), SeenContext("c", b""))), "contexts"),
        (replace(CUT, contexts=tuple(SeenContext(f"c{at}", b"") for at in range(101))), "contexts"),
        (replace(CUT, contexts=(SeenContext("c", bytes(64 * 1024 + 1)),)), "cursor"),
    ],
)
def test_what_breaks_a_rule_of_teams_is_refused(command: TeamCommand, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        encode_command(command)
    assert refused.value.metadata["field"] == field


def test_a_transaction_is_known_again_by_what_it_asks() -> None:
    """Not by when, by whom, or under which lease; but by its parts and where they expect their logs to end."""
    first = keyed_transaction(Transact(7, (PART, Part(Target("n", "b"), ONE)), None, "me"), "k")
    leased = tuple(part._replace(epoch=3) for part in first.parts)
    same = keyed_transaction(Transact(8, leased, None, "you"), "k")
    assert first.idempotency is not None
    assert first.idempotency == same.idempotency
    for other in (
        Transact(7, first.parts[::-1]),
        Transact(7, first.parts[:1]),
        Transact(7, (PART._replace(expected_seq=0), *first.parts[1:])),
    ):
        assert keyed_transaction(other, "k").idempotency != first.idempotency
    assert keyed_transaction(first, "") == first


def test_a_cut_is_known_again_by_its_key() -> None:
    first = keyed_checkpoint(CUT, "k")
    assert (
        keyed_checkpoint(replace(CUT, time_unix_ms=8, actor="you", fingerprint=b"x"), "k").fingerprint
        == first.fingerprint
    )
    assert len(first.fingerprint) == 16
    for other in (
        keyed_checkpoint(CUT, "l"),
        keyed_checkpoint(replace(CUT, prefix="a"), "k"),
        keyed_checkpoint(CUT, ""),
    ):
        assert other.fingerprint != first.fingerprint
