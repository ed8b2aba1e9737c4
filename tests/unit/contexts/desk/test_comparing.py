"""Sums of ranges: equal where documents are, and different where they are not, deletions included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.peer.v1 import peer_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.rows import bucket_of
from tests.unit.contexts.desk.kit import FIRST, PLAN, Asker, Refused, Replica, guid_of, merge_request


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Asker, Asker]]:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = Asker(tmp_path / "one"), Asker(tmp_path / "two", loaded_documents=2)
    yield one, two
    one.desk.close()
    two.desk.close()


def sums(asker: Asker, *prefixes: bytes) -> dict[bytes, tuple[bytes, int]]:
    return {part.prefix: (part.digest, part.documents) for part in asker.compare(prefixes=prefixes).ranges}


def listed(asker: Asker, *prefixes: bytes) -> dict[bytes, bytes]:
    return {part.id.guid: part.digest for part in asker.compare(prefixes=prefixes, list=True).documents}


def nibbles(guid: bytes) -> bytes:
    bucket = bucket_of(guid)
    return bytes((bucket >> 8, bucket >> 4 & 15, bucket & 15))


def test_equal_documents_have_equal_sums(two: tuple[Asker, Asker]) -> None:
    replicas = {guid_of(str(number)): Replica(FIRST + number) for number in range(12)}
    updates = [
        merge_request(replica.set(key, 1), guid=guid, writer=replica.writer)
        for guid, replica in replicas.items()
        for key in "ab"
    ]
    for update in updates:
        two[0].desk.handle([update])
    two[1].desk.handle(updates)
    assert sums(two[0]) == sums(two[1])
    assert sum(documents for _, documents in sums(two[0]).values()) == 12
    assert listed(two[0]) == listed(two[1])
    for asker in two:
        before = sums(asker)
        asker.reopen()
        assert sums(asker) == before
    guid, replica = next(iter(replicas.items()))
    two[0].merge(replica.set("c", 1), guid=guid, writer=replica.writer)
    for depth in (1, 2, 3):
        prefix = nibbles(guid)[:depth]
        one, other = (sums(asker, prefix[:-1]) for asker in two)
        assert {part for part in one | other if one.get(part) != other.get(part)} == {prefix}
    digests = [listed(asker, nibbles(guid))[guid] for asker in two]
    assert digests[0] != digests[1]


def test_a_partition_that_only_deletes_is_noticed(two: tuple[Asker, Asker]) -> None:
    """Equal state vectors are not equal documents (crdt.md 5)."""
    replica, other = Replica(), Replica(FIRST + 1)
    update = replica.set("t1", 1)
    for asker in two:
        asker.merge(update)
    other.hear(update)
    gone = other.edit(lambda: other.map().pop("t1"))
    two[0].merge(gone, writer=other.writer)
    vectors = [asker.describe().cursor.state_vector for asker in two]
    assert vectors[0] == vectors[1]
    digests = [asker.describe().cursor.deletes_digest for asker in two]
    assert digests[0] != digests[1]
    assert sums(two[0]) != sums(two[1])
    two[1].merge(gone, writer=other.writer)
    assert sums(two[0]) == sums(two[1])


def test_the_content_too_where_one_document_is_asked_for(two: tuple[Asker, Asker]) -> None:
    """A client id used twice leaves digests equal and contents not (crdt.md 5)."""
    for asker, value in zip(two, (1, 2), strict=True):
        asker.merge(Replica().set("t1", value))
    one, other = (asker.compare(guid=PLAN).documents[0] for asker in two)
    assert one.digest == other.digest
    assert one.content_digest != other.content_digest


def test_a_forgotten_document_counts_no_more(two: tuple[Asker, Asker]) -> None:
    asker = two[0]
    asker.merge(Replica().set("t1", 1))
    assert sums(asker)
    asker.ask(worker_pb2.Request(forget=worker_pb2.Forget(guid=PLAN)))
    assert not sums(asker)
    assert not listed(asker)
    asker.merge(Replica().set("t1", 1))
    forget_and_merge = [
        worker_pb2.Request(forget=worker_pb2.Forget(guid=PLAN)),
        merge_request(Replica(FIRST + 3).set("t1", 1), writer=FIRST + 3),
    ]
    asker.desk.handle(forget_and_merge)
    two[1].merge(Replica(FIRST + 3).set("t1", 1), writer=FIRST + 3)
    assert sums(asker) == sums(two[1])


def test_a_crash_before_digests_are_taken_costs_no_digest(two: tuple[Asker, Asker]) -> None:
    replica = Replica()
    for asker in two:
        asker.merge(replica.set("a", 1) if asker is two[0] else replica.doc.get_update())
    two[0].reopen()
    assert sums(two[0]) == sums(two[1])


def test_a_document_without_content_does_not_count(two: tuple[Asker, Asker]) -> None:
    asker = two[0]
    assert asker.json() == b"{}"
    assert asker.describe().cursor.state_vector == b"\x00"
    assert asker.whole() == b"\x00\x00"
    assert not sums(asker)
    assert asker.compare(guid=PLAN) == peer_pb2.CompareContextsReply()


def test_prefixes_that_are_none(two: tuple[Asker, Asker]) -> None:
    for prefix in (b"\x10", b"\x01\x02\x03\x04"):
        with pytest.raises(Refused, match="INVALID_REQUEST"):
            sums(two[0], prefix)
