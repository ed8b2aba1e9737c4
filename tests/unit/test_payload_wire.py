"""Commands on payloads on the wire, and how the node finds the payloads that a mutation names."""

from __future__ import annotations

import pytest

from tallystick.errors import Invalid, Reason
from tallystick.v1 import state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import Checkpoint, Command, Target
from tallystick_node.core.manifests import ChunkRef, chunks_of, manifest_of, payload_id
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.payload_records import CollectPayloads, PayloadCommand, PutChunks, PutPayload
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.mutations import admit_mutation, decode_mutation
from tallystick_node.wire.step_mutations import completed_mutation

IDS = [bytes([number] * 32) for number in range(3)]
NAMES = [b'{"$payload":"%s","size_bytes":1}' % each.hex().encode() for each in IDS]
MANIFEST = manifest_of([ChunkRef(IDS[0], 1), ChunkRef(IDS[1], limits.CHUNK_BYTES)])

COMMANDS: list[PayloadCommand] = [
    PutChunks(7, "n", (b"one", b"two"), "me"),
    PutPayload(7, "n", MANIFEST, "me"),
    PutPayload(7, "n", b""),
    CollectPayloads(7, "n", 5, 100),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_round_trip(command: PayloadCommand) -> None:
    assert decode_commands(encode_command(command)) == [command]


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (PutChunks(7, "", (b"x",)), Reason.INVALID_NAME, "namespace"),
        (PutChunks(7, "n", ()), Reason.INVALID_REQUEST, "chunks"),
        (PutChunks(7, "n", (b"",)), Reason.INVALID_REQUEST, "chunks"),
        (PutChunks(7, "n", (b"x",), "x" * 201), Reason.TOO_LARGE, "actor"),
        (PutChunks(7, "n", (b"x" * (limits.CHUNK_BYTES + 1),)), Reason.TOO_LARGE, "chunks"),
        (PutChunks(7, "n", (b"x",) * (limits.PUT_CHUNKS + 1)), Reason.TOO_LARGE, "chunks"),
        (PutChunks(7, "n", (b"x" * limits.CHUNK_BYTES,) * 5), Reason.TOO_LARGE, "chunks"),
        (PutPayload(7, "n", MANIFEST[:-1]), Reason.INVALID_REQUEST, "manifest"),
        (PutPayload(7, "n", manifest_of([ChunkRef(IDS[0], 0)])), Reason.INVALID_REQUEST, "manifest"),
        (PutPayload(7, "n", manifest_of([ChunkRef(IDS[0], 2**31)])), Reason.INVALID_REQUEST, "manifest"),
        (PutPayload(7, "n", MANIFEST * (limits.PAYLOAD_CHUNKS // 2) + MANIFEST), Reason.TOO_LARGE, "manifest"),
        (CollectPayloads(7, "n", 5, limits.COLLECTED_AT_ONCE + 1), Reason.TOO_LARGE, "limit"),
    ],
)
def test_refused_commands(command: Command, reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        encode_command(command)
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_the_longest_manifest_fits_into_a_command() -> None:
    encode_command(PutPayload(7, "n", MANIFEST * (limits.PAYLOAD_CHUNKS // 2)))


def test_a_payload_is_named_by_its_manifest() -> None:
    """Part of the format: these bytes never change."""
    assert chunks_of(MANIFEST) == [(IDS[0], 1), (IDS[1], limits.CHUNK_BYTES)]
    assert len(MANIFEST) == 72
    assert payload_id(b"").hex() == "220d78632f6ca56656ea41e7c7ef1da81640e0485124dd6c8f0d125e0f0bfd61"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (NAMES[1], [1]),
        (b'[%s,{"a":{"b":%s}},%s]' % (NAMES[2], NAMES[0], NAMES[2]), [0, 2]),
        (NAMES[1].replace(b"$", b"\\u0024"), [1]),
        (NAMES[1].replace(b"load", b"l\\u006fad"), [1]),
        (b'"%s"' % NAMES[1].replace(b'"', b'\\"'), []),
        (b'{"$payload":"%s"}' % (b"A" * 64), []),
        (b'{"$payload":"%s0"}' % (b"0" * 64), []),
        (b'{"$payload":["%s"]}' % (b"0" * 64), []),
        (b'{"payload":"%s"}' % (b"0" * 64), []),
        (b"17", []),
    ],
)
def test_what_a_text_names(text: bytes, named: list[int]) -> None:
    assert payloads_named(text) == tuple(IDS[each] for each in named)


def test_a_mutation_bears_the_payloads_that_it_names_and_no_others() -> None:
    operations = [state_pb2.Operation(kind=state_pb2.OPERATION_KIND_SET, path="/x", value=value) for value in NAMES[:2]]
    claimed = admit_mutation(state_pb2.Mutation(operations=operations, payloads=[IDS[2]]))
    assert claimed.payloads == (IDS[0], IDS[1])
    assert list(state_pb2.Mutation.FromString(claimed.raw).payloads) == IDS[:2]
    assert claimed == decode_mutation(claimed.raw) == admit_mutation(state_pb2.Mutation(operations=operations))
    event = admit_mutation(state_pb2.Mutation(kind="seen", payload=NAMES[2]))
    assert event.payloads == (IDS[2],)
    nothing = admit_mutation(state_pb2.Mutation(kind="seen", payload=b"{}", payloads=IDS))
    assert list(state_pb2.Mutation.FromString(nothing.raw).payloads) == []


def test_so_do_the_results_of_steps_and_checkpoints() -> None:
    result = completed_mutation("s", 1, NAMES[1], "")
    assert result.payloads == (IDS[1],) == decode_mutation(result.raw).payloads
    taken = Checkpoint(7, Target("n", "a"), "c", metadata=b'{"x":%s}' % NAMES[2], pending_calls=b"[%s]" % NAMES[0])
    (decoded,) = decode_commands(encode_command(taken))
    assert isinstance(decoded, Checkpoint)
    assert decoded.payloads == (IDS[0], IDS[2])


def test_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MUTATION_PAYLOADS", 2)
    admit_mutation(state_pb2.Mutation(kind="seen", payload=b"[%s,%s]" % (NAMES[0], NAMES[1])))
    with pytest.raises(Invalid) as caught:
        admit_mutation(state_pb2.Mutation(kind="seen", payload=b"[%s]" % b",".join(NAMES)))
    assert caught.value.reason is Reason.TOO_LARGE
