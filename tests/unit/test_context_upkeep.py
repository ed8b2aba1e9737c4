"""Verifying and compacting, with voters that are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from tallystick.errors import Conflict, QuotaExceeded, Reason, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick_node.context_store.compacting import SEALED_S, Compacting, SealWatch
from tallystick_node.context_store.decided import ContextListener, DecidedContexts
from tallystick_node.context_store.verifying import DIFFERENT_TOLD, Verifying
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import BASE_BYTES
from tallystick_node.core.outcomes import ContextChange, ContextDecided, ContextRecord
from tallystick_node.storage.pages import Page
from tests.unit.context_peers_kit import compare

NODES = ("a", "b", "c")
DEADLINE_S = 20.0


def guid_of(number: int) -> bytes:
    """One of many."""
    return number.to_bytes(16, "big")


def record_of(number: int, namespace: str = "demo") -> ContextRecord:
    """A document that is decided."""
    return ContextRecord(
        guid=guid_of(number),
        namespace=namespace,
        name=f"plan-{number}",
        epoch=1,
        seal=0,
        actor="x",
        time_unix_ms=0,
        changed_unix_ms=0,
        position=number,
        fingerprint=b"",
        schema=b"",
    )


@dataclass
class Decided:
    """What is decided, at once."""

    records: dict[bytes, ContextRecord] = field(default_factory=dict)
    bases: list[bytes] = field(default_factory=list)
    listeners: list[ContextListener] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    sealed: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self, listener: ContextListener) -> None:
        self.listeners.append(listener)

    def info_by_guid(self, guid: bytes) -> ContextRecord | None:
        return self.records.get(guid)

    def all_documents(self, after_guid: bytes = b"") -> Page[ContextRecord]:
        left = sorted(guid for guid in self.records if guid > after_guid)
        return Page([self.records[guid] for guid in left[:2]], len(left) > 2)

    async def seal(self, guid: bytes, epoch: int, *, actor: str, timeout_s: float) -> ContextRecord:
        del actor, timeout_s
        assert self.records[guid].epoch == epoch
        self.sealed.set()
        return self._change(guid, ContextChange.SEALED, seal=77)

    async def start_epoch(
        self, guid: bytes, epoch: int, seal: int, base: bytes, *, actor: str, timeout_s: float
    ) -> ContextRecord:
        del timeout_s
        if self.records[guid].seal != seal:
            raise Conflict("another seal", reason=Reason.EPOCH_CONFLICT)
        self.bases.append(base)
        self.actors.append(actor)
        if not base:
            return self._change(guid, ContextChange.UNSEALED, seal=0)
        return self._change(guid, ContextChange.EPOCH_STARTED, seal=0, epoch=epoch)

    def _change(self, guid: bytes, change: ContextChange, *, seal: int, epoch: int = 0) -> ContextRecord:
        record = replace(self.records[guid], seal=seal, epoch=epoch or self.records[guid].epoch)
        self.records[guid] = record
        for listener in self.listeners:
            listener.context_decided(
                ContextDecided(77, change, record.namespace, record.name, guid, record.epoch, 0, "x", b"")
            )
        return record


@dataclass
class Voters:
    """The nodes: what each holds, and whether it has heard of seals."""

    decided: Decided
    held: dict[str, dict[ContextId, bytes]] = field(default_factory=lambda: {node_id: {} for node_id in NODES})
    contents: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)

    async def __call__(self, node_id: str, request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
        await asyncio.sleep(0)
        if node_id in self.silent:
            raise Unavailable(f"node {node_id} does not answer", reason=Reason.UNREACHABLE)
        if not request.guid:
            return compare(self.held[node_id], request)
        reply = peer_pb2.CompareContextsReply()
        for document, digest in self.held[node_id].items():
            if document.guid == request.guid:
                content = self.contents.get((node_id, document.guid), b"same")
                reply.documents.add(id=document.to_proto(), digest=digest, content_digest=content)
        if node_id not in self.deaf:
            reply.seal = self.decided.records[request.guid].seal
        return reply


@dataclass
class OwnDocuments:
    """Those of the node that compacts."""

    parts: list[bytes] = field(default_factory=lambda: [b"ba", b"se"])

    async def size_bytes(self, document: ContextId) -> int:
        return 1000 // document.epoch

    async def rebuilt(self, _document: ContextId) -> AsyncGenerator[bytes, None]:
        for part in self.parts:
            yield part


def stage(count: int = 5) -> tuple[Decided, Voters, Verifying]:
    """All hold the same documents."""
    decided = Decided({guid_of(number): record_of(number) for number in range(1, count + 1)})
    voters = Voters(decided)
    for held in voters.held.values():
        held.update({ContextId(guid, 1): bytes([7]) * 16 for guid in decided.records})
    verifying = Verifying(cast("DecidedContexts", decided), voters, node_id="b", voters=lambda: frozenset(NODES))
    return decided, voters, verifying


def compacting(
    decided: Decided, voters: Voters, documents: OwnDocuments | None = None, equal_s: float = DEADLINE_S
) -> Compacting:
    """The node that compacts."""
    return Compacting(
        cast("DecidedContexts", decided), documents or OwnDocuments(), voters, lambda: frozenset(NODES), equal_s
    )


async def test_equal_nodes_are_said_to_be_equal_this_node_first() -> None:
    _, _, verifying = stage()
    found = await verifying.all("", deep=True)
    assert found.equal
    assert [(node.node_id, node.documents) for node in found.nodes] == [("b", 5), ("a", 5), ("c", 5)]
    assert len({node.digest for node in found.nodes}) == 1
    assert not found.different


async def test_differences_are_named_by_their_contexts() -> None:
    decided, voters, verifying = stage()
    voters.held["a"][ContextId(guid_of(2), 1)] = bytes(16)
    del voters.held["c"][ContextId(guid_of(4), 1)]
    found = await verifying.all("", deep=False)
    assert not found.equal
    assert {record.name for record in found.different} == {"plan-2", "plan-4"}
    decided.records[guid_of(2)] = record_of(2, "other")
    assert [record.name for record in (await verifying.all("demo", deep=False)).different] == ["plan-4"]


async def test_a_namespace_is_told_nothing_of_others() -> None:
    decided, voters, verifying = stage()
    decided.records[guid_of(2)] = record_of(2, "other")
    for number, node_id in enumerate(NODES):
        voters.held[node_id][ContextId(guid_of(2), 1)] = bytes([number]) * 16  # differs, elsewhere
    found = await verifying.all("demo", deep=False)
    assert found.equal
    assert {(node.digest, node.documents) for node in found.nodes} == {(bytes(16), 4)}  # of four that are alike
    voters.held["a"][ContextId(guid_of(1), 1)] = bytes([3]) * 16
    del voters.held["c"][ContextId(guid_of(4), 1)]
    found = await verifying.all("demo", deep=False)
    assert [(node.node_id, node.digest[0], node.documents) for node in found.nodes] == [
        ("b", 0, 4),
        ("a", 7 ^ 3, 4),
        ("c", 7, 3),
    ]
    assert {record.name for record in found.different} == {"plan-1", "plan-4"}
    assert (await verifying.all("elsewhere", deep=False)).equal


async def test_equal_digests_with_other_contents_are_found_by_a_deep_look_alone() -> None:
    decided, voters, verifying = stage()
    voters.contents["c", guid_of(3)] = b"other"
    assert (await verifying.all("", deep=False)).equal
    found = await verifying.all("", deep=True)
    assert not found.equal
    assert [record.name for record in found.different] == ["plan-3"]
    assert not (await verifying.one(decided.records[guid_of(3)])).equal
    assert (await verifying.one(decided.records[guid_of(2)])).equal


async def test_a_voter_that_does_not_answer_is_not_equal() -> None:
    decided, voters, verifying = stage()
    voters.silent.add("c")
    found = await verifying.all("", deep=False)
    assert not found.equal
    assert [bool(node.error) for node in found.nodes] == [False, False, True]
    assert not (await verifying.one(decided.records[guid_of(1)])).equal


async def test_what_is_left_of_a_deleted_document_is_no_difference_and_answers_are_bounded() -> None:
    decided, voters, verifying = stage(DIFFERENT_TOLD + 20)
    del decided.records[guid_of(1)]
    del voters.held["a"][ContextId(guid_of(1), 1)]
    assert (await verifying.all("", deep=False)).equal
    voters.held["c"].clear()
    assert len((await verifying.all("", deep=False)).different) == DIFFERENT_TOLD


async def test_a_document_begins_a_new_epoch_once_all_voters_hold_the_same() -> None:
    decided, voters, _ = stage()
    document = ContextId(guid_of(1), 1)
    voters.held["c"][document] = bytes(16)
    voters.deaf.add("a")
    running = asyncio.create_task(
        compacting(decided, voters).compact(decided.records[document.guid], actor="x", timeout_s=DEADLINE_S)
    )
    await decided.sealed.wait()
    assert not running.done()
    voters.deaf.clear()
    voters.held["c"][document] = bytes([7]) * 16
    done = await running
    assert (done.record.epoch, done.record.seal) == (2, 0)
    assert decided.bases == [b"base"]
    assert (done.bytes_before, done.bytes_after) == (1000, 500)


@pytest.mark.parametrize("fault", ["silent", "deaf", "different"])
async def test_where_not_all_voters_come_to_hold_the_same_the_seal_is_undone(fault: str) -> None:
    decided, voters, _ = stage()
    if fault == "different":
        voters.contents["a", guid_of(1)] = b"other"
    else:
        getattr(voters, fault).add("a")
    with pytest.raises(Unavailable) as refused:
        await compacting(decided, voters, equal_s=0.3).compact(
            decided.records[guid_of(1)], actor="x", timeout_s=DEADLINE_S
        )
    assert refused.value.reason is Reason.BEHIND
    assert decided.bases == ([] if fault == "silent" else [b""])  # where one is away, nothing is sealed at all
    assert decided.records[guid_of(1)] == record_of(1)


async def test_content_that_is_too_large_for_the_log_has_no_new_epoch() -> None:
    decided, voters, _ = stage()
    large = OwnDocuments([bytes(BASE_BYTES), b"x"])
    with pytest.raises(QuotaExceeded) as refused:
        await compacting(decided, voters, large).compact(decided.records[guid_of(1)], actor="x", timeout_s=DEADLINE_S)
    assert refused.value.reason is Reason.CONTEXT_QUOTA
    assert decided.bases == [b""]


async def test_one_at_a_time_and_a_caller_that_goes_leaves_no_seal() -> None:
    decided, voters, _ = stage()
    voters.deaf.add("a")
    running = asyncio.create_task(
        compacting(decided, voters).compact(decided.records[guid_of(1)], actor="x", timeout_s=DEADLINE_S)
    )
    await decided.sealed.wait()
    with pytest.raises(Unavailable) as refused:
        await compacting(decided, voters).compact(decided.records[guid_of(1)], actor="x", timeout_s=DEADLINE_S)
    assert refused.value.reason is Reason.CONTEXT_SEALED
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert not decided.records[guid_of(1)].is_sealed


async def test_the_leader_undoes_a_seal_that_nobody_comes_back_to_and_only_that() -> None:
    decided, _, _ = stage()
    now_s, leads = 0.0, False
    watch = SealWatch(cast("DecidedContexts", decided), node_id="b", leads=lambda: leads, clock=lambda: now_s)
    await decided.seal(guid_of(1), 1, actor="x", timeout_s=1)
    now_s = SEALED_S + 1
    await decided.seal(guid_of(2), 1, actor="x", timeout_s=1)
    await watch.undo_old()
    assert decided.bases == []
    leads = True
    await watch.undo_old()
    assert decided.bases == [b""]
    assert decided.actors == ["node:b"]
    assert not decided.records[guid_of(1)].is_sealed
    assert decided.records[guid_of(2)].is_sealed


async def test_a_seal_from_before_a_start_is_found() -> None:
    decided, _, _ = stage()
    await decided.seal(guid_of(4), 1, actor="x", timeout_s=1)
    now_s = 0.0
    watch = SealWatch(cast("DecidedContexts", decided), node_id="b", leads=lambda: True, clock=lambda: now_s)
    await watch._look()
    await watch.undo_old()
    assert decided.bases == []
    now_s = SEALED_S + 1
    await watch.undo_old()
    assert not decided.records[guid_of(4)].is_sealed
