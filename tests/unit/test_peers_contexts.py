"""The exchange of edits between nodes, over real streams with simple documents."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tallystick.errors import Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick.testing.local_wait import eventually
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import DIFFS_AT_ONCE
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import certificate_name, to_metadata
from tallystick_node.peers.options import COMPARE_METHOD, CONTEXT_LINK_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import refusal_of
from tallystick_node.peers.tls import name_override, peer_credentials
from tests.unit.context_peers_kit import DOCUMENT, GUID, Doc, ExchangeNode, FakeDocuments, exchanging, update
from tests.unit.peers_kit import DEADLINE_S, Authority, Relay, local


def connect(*nodes: ExchangeNode) -> None:
    """Each knows the others."""
    for node in nodes:
        node.exchange.update({other.node_id: other.endpoint for other in nodes})


async def equal(node: ExchangeNode, *others: ExchangeNode) -> None:
    """Until all hold the same."""

    async def alike() -> bool:
        return node.is_like(*others)

    await eventually(alike, within_s=DEADLINE_S, what="all are alike")


async def test_an_edit_is_pushed_merged_as_a_peers_and_acknowledged() -> None:
    async with exchanging("a") as a, exchanging("b") as b, exchanging("c") as c:
        connect(a, b, c)
        number = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: {("b", DOCUMENT, number), ("c", DOCUMENT, number)} <= set(a.documents.acks))
        assert b.documents.doc().words == c.documents.doc().words == {1: ["x"]}
        assert set(b.documents.origins) == {worker_pb2.ORIGIN_PEER}
        assert b.exchange.coverage.holds("a", DOCUMENT, number)
        assert not b.documents.acks  # what came from a peer is not pushed on


async def test_an_ack_of_an_edit_stands_for_those_before_it_that_were_never_pushed() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        other = ContextId(b"o" * 16, 1)
        a.documents.epochs[other.guid] = b.documents.epochs[other.guid] = 1
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"), other)
        await a.documents.until(lambda: ("b", other, first) in a.documents.acks)
        a.documents.docs[DOCUMENT] = Doc({7: ["of a client of a former life"]}, number=1)
        number = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, number) in a.documents.acks)
        assert b.documents.doc().words.keys() == {1, 7}
        assert a.documents.wholes[-1] == number  # it was offered, and fetched
        pushed = a.documents.edit(update(1, 1, "y"))
        await a.documents.until(lambda: ("b", DOCUMENT, pushed) in a.documents.acks)
        assert a.documents.wholes[-1] == 0
        a.documents.offer(DOCUMENT)
        await a.documents.until(lambda: a.documents.wholes[-1] == pushed)


async def test_edits_keep_their_order() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        for clock in range(500):
            a.documents.edit(update(1, clock, str(clock)))
        await a.documents.until(lambda: ("b", DOCUMENT, 500) in a.documents.acks)
        assert b.documents.doc().words == {1: [str(clock) for clock in range(500)]}


async def test_what_was_made_before_there_was_a_link_is_offered_and_comes_by_a_diff_in_parts() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        a.exchange.update({"b": b.endpoint})
        a.documents.edit(update(1, 0, "long" * 100))
        last = a.documents.edit(update(1, 1, "words" * 100))
        connect(a, b)
        await a.documents.until(lambda: ("b", DOCUMENT, last) in a.documents.acks)
        assert a.is_like(b)
        assert b.exchange.counters.diffs == 1
        assert "diffed" in {edit.actor for edit in b.documents.edits}
        assert b.exchange.coverage.holds("a", DOCUMENT, last)


async def test_an_edit_whose_predecessor_is_not_there_is_not_acknowledged_until_a_diff_has_brought_it() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        a.documents.told = lambda _edit: None
        a.documents.edit(update(1, 0, "lost"))  # b never hears of it
        a.documents.told = a.exchange.push
        connect(a, b)
        number = a.documents.edit(update(1, 1, "next"))
        await a.documents.until(lambda: ("b", DOCUMENT, number) in a.documents.acks)
        assert b.documents.doc().words == {1: ["lost", "next"]}
        assert b.exchange.counters.diffs >= 1


async def test_a_damaged_edit_is_counted_and_the_diff_asked_for() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        a.documents.doc().words[1].append("y")
        a.documents.doc().number += 1
        push = peer_pb2.ContextPush(id=DOCUMENT.to_proto(), number=2, update=b"\xff not JSON")
        a.exchange._peers["b"].outbox.push(push, push.ByteSize())
        await a.documents.until(lambda: ("b", DOCUMENT, 2) in a.documents.acks)
        assert b.exchange.counters.refused == 1
        assert a.is_like(b)


async def test_after_a_cut_all_are_equal_deletions_alone_too() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        relay = Relay(int(b.endpoint.rpartition(":")[2]))
        back = Relay(int(a.endpoint.rpartition(":")[2]))
        async with relay.open() as to_b, back.open() as to_a:
            a.exchange.update({"b": to_b})
            b.exchange.update({"a": to_a})
            first = a.documents.edit(update(1, 0, "x"))
            await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
            relay.freeze()
            back.freeze()
            a.documents.edit(update(1, 1, deletes=["x"]))
            b.documents.edit(update(2, 0, "y"))
            relay.thaw()
            back.thaw()
            await equal(a, b)
            assert a.documents.doc().deletes == {"x"}


async def test_comparing_finds_what_nobody_pushes() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        a.documents.told = b.documents.told = lambda _edit: None
        for number in range(50):
            guid = bytes([number]) * 16
            a.documents.epochs[guid] = b.documents.epochs[guid] = 1
            (a if number % 2 else b).documents.edit(update(number, 0, "x"), ContextId(guid, 1))
        connect(a, b)
        await equal(a, b)
        assert len(a.documents.digests()) == 50


async def test_comparing_finds_a_deletion_that_nobody_pushes() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        a.documents.told = lambda _edit: None
        a.documents.edit(update(1, 1, deletes=["x"]))
        await equal(a, b)
        assert b.documents.doc().deletes == {"x"}


async def test_only_equal_epochs_exchange_and_an_older_one_waits_until_its_log_has_come_so_far() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        new = ContextId(GUID, 2)
        a.documents.epochs[GUID] = 2
        connect(a, b)
        number = a.documents.edit(update(1, 0, "x"), new)
        other = ContextId(b"o" * 16, 1)
        a.documents.epochs[other.guid] = b.documents.epochs[other.guid] = 1
        after = a.documents.edit(update(1, 0, "o"), other)
        await a.documents.until(lambda: ("b", other, after) in a.documents.acks)
        assert new not in b.documents.docs
        b.documents.epochs[GUID] = 2
        await a.documents.until(lambda: ("b", new, number) in a.documents.acks)
        assert a.is_like(b)


async def test_a_worker_that_is_down_for_a_while_loses_nothing() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        b.documents.error = Unavailable("down")
        b.documents.error.reason = b.documents.error.reason.WORKER_DOWN
        number = a.documents.edit(update(1, 0, "x"))
        await b.documents.until(lambda: b.documents.refused > 0)
        assert not a.documents.acks
        b.documents.error = None
        await a.documents.until(lambda: ("b", DOCUMENT, number) in a.documents.acks)


async def test_a_damaged_document_is_forgotten_and_fetched_whole() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        b.documents.damaged.add(GUID)
        second = a.documents.edit(update(1, 1, "y"))
        await a.documents.until(lambda: ("b", DOCUMENT, second) in a.documents.acks)
        assert b.exchange.counters.lost == 1
        assert b.documents.begun == [GUID]
        assert a.is_like(b)


async def test_a_cursor_of_another_node_is_caught_up_with() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        a.documents.told = lambda _edit: None
        number = a.documents.edit(update(1, 0, "x"))
        waiting = asyncio.create_task(b.exchange.coverage.catch_up("a", DOCUMENT, number))
        connect(a, b)
        async with asyncio.timeout(DEADLINE_S):
            await waiting
        assert a.is_like(b)


async def test_numbers_that_were_others_are_not_covered_by_a_push() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        a.documents._merge(DOCUMENT, update(9, 0, "of another peer"))
        third = a.documents.edit(update(1, 1, "y"))
        await a.documents.until(lambda: ("b", DOCUMENT, third) in a.documents.acks)
        assert third == first + 2
        if b.documents.doc().words.get(9) is None:
            assert not b.exchange.coverage.holds("a", DOCUMENT, third)


async def test_presence_goes_to_those_that_are_connected() -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        a.exchange.tell(GUID, [context_pb2.PresenceState(writer=1, clock=1, state=b"old")])
        a.exchange.tell(GUID, [context_pb2.PresenceState(writer=1, clock=2, state=b"{}")])
        await b.documents.until(lambda: 1 in b.documents.presences and b.documents.presences[1].clock == 2)


async def test_a_node_that_comes_back_is_offered_what_it_did_not_acknowledge() -> None:
    b_documents = FakeDocuments()
    async with exchanging("a") as a:
        async with exchanging("b", b_documents) as b:
            connect(a, b)
            first = a.documents.edit(update(1, 0, "x"))
            await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
            port = int(b.endpoint.rpartition(":")[2])
        second = a.documents.edit(update(1, 1, "y"))
        async with exchanging("b", b_documents, port=port, incarnation=2) as b:
            b.exchange.update({"a": a.endpoint})
            await a.documents.until(lambda: ("b", DOCUMENT, second) in a.documents.acks)
            assert a.is_like(b)


@pytest.mark.parametrize("members", [{}, {"c": "127.0.0.1:1"}])
async def test_a_node_that_is_no_member_any_more_pushes_nothing(members: dict[str, str]) -> None:
    async with exchanging("a") as a, exchanging("b") as b:
        connect(a, b)
        first = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, first) in a.documents.acks)
        b.servicer.update(["b", *members])
        b.exchange.update(members)
        assert b.exchange._servicer.stream_of("a") is not None

        async def is_alone() -> bool:
            return not a.exchange.connected

        await eventually(is_alone, within_s=DEADLINE_S, what="the stream has ended")
        a.documents.edit(update(1, 1, "y"))
        with pytest.raises(Unavailable):
            await a.exchange.compare("b", peer_pb2.CompareContextsRequest(prefixes=[b""]))
        assert b.documents.doc().words == {1: ["x"]}


async def said(endpoint: str, node_id: str, *frames: bytes, incarnation: int = 1) -> Refusal | None:
    """Dials as a node, says this on a stream of edits, and gives why the stream was ended."""
    channel = grpc.aio.insecure_channel(endpoint)
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{PEER_SERVICE}/{CONTEXT_LINK_METHOD}", None, None
    )
    call = method(None, metadata=to_metadata(local(node_id, incarnation)))
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert isinstance(await call.read(), bytes)
            for frame in frames:
                await call.write(frame)
            while isinstance(await call.read(), bytes):
                pass
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    finally:
        call.cancel()
        await channel.close(None)
    return None


async def test_what_breaks_the_rules_ends_its_stream_and_changes_nothing() -> None:
    async with exchanging("b") as b:
        assert await said(b.endpoint, "a", b"\xff\xff\xff") is Refusal.BAD_FRAME
        part = peer_pb2.ContextDiff(id=DOCUMENT.to_proto(), data=b"x")
        many = peer_pb2.ContextFrame()
        for number in range(DIFFS_AT_ONCE + 1):
            part.id.guid = bytes([number]) * 16
            many.diffs.append(part)
        assert await said(b.endpoint, "a", many.SerializeToString()) is Refusal.BAD_FRAME
        assert b.exchange._servicer.refused[Refusal.BAD_FRAME] == 2
        assert not b.documents.docs


async def test_strangers_and_processes_that_are_gone_are_refused() -> None:
    async with exchanging("b") as b:
        assert await said(b.endpoint, "z") is Refusal.UNKNOWN_NODE
        assert await said(b.endpoint, "b") is Refusal.OWN_NODE_ID
        assert await said(b.endpoint, "a", b"\xff", incarnation=2) is Refusal.BAD_FRAME
        assert await said(b.endpoint, "a", incarnation=1) is Refusal.OLD_INCARNATION


async def test_a_newer_stream_takes_the_place_of_the_older() -> None:
    async with exchanging("b") as b:
        older = asyncio.create_task(said(b.endpoint, "a"))

        async def is_there() -> bool:
            return b.exchange._servicer.stream_of("a") is not None

        await eventually(is_there, within_s=DEADLINE_S, what="the stream is there")
        newer = asyncio.create_task(said(b.endpoint, "a"))
        assert await older is Refusal.SUPERSEDED
        b.exchange.close()
        assert await newer is Refusal.STOPPING


async def test_a_certificate_that_names_another_does_not_push() -> None:
    authority = Authority()
    at_b = peer_credentials(authority.pem, *authority.issue(certificate_name("b")))
    of_client = peer_credentials(authority.pem, *authority.issue("agent.client.tallystick"))
    async with exchanging("b", credentials=at_b) as b:
        channel = grpc.aio.secure_channel(b.endpoint, of_client.channel, (name_override("b"),))
        metadata = to_metadata(local("a"))
        link: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{PEER_SERVICE}/{CONTEXT_LINK_METHOD}", None, None
        )
        question: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{PEER_SERVICE}/{COMPARE_METHOD}", None, None
        )
        stream = link(None, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refusal_of(refused.value) is Refusal.WRONG_CERTIFICATE
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await question(b"", metadata=metadata)
        assert refusal_of(refused.value) is Refusal.WRONG_CERTIFICATE
        await channel.close(None)
        assert b.exchange._servicer.refused[Refusal.WRONG_CERTIFICATE] == 2


async def test_over_tls_nodes_exchange() -> None:
    authority = Authority()
    at_a, at_b = (peer_credentials(authority.pem, *authority.issue(certificate_name(name))) for name in "ab")
    async with exchanging("a", credentials=at_a) as a, exchanging("b", credentials=at_b) as b:
        connect(a, b)
        number = a.documents.edit(update(1, 0, "x"))
        await a.documents.until(lambda: ("b", DOCUMENT, number) in a.documents.acks)
