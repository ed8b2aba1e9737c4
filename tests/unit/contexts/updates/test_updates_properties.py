"""What pycrdt writes, whatever was edited: admitted, and read as pycrdt knows it."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Snapshot

from tallystick_node.contexts.updates import deletes as deletions
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.decode import decode
from tallystick_node.contexts.updates.deletes import Ranges
from tallystick_node.contexts.updates.digest import digest
from tallystick_node.contexts.updates.places import Places
from tests.fuzz.corpus import edit

WRITERS = (77, 2**32 + 5, 2**53 - 9)


def known_deletes(doc: Doc[Any]) -> dict[int, Ranges]:
    """As pycrdt says: a snapshot begins with the deletions."""
    found, _ = deletions.read(bytes(Snapshot.from_doc(doc).encode()), 0)
    return {writer: deletions.normalised(ranges) for writer, ranges in found.items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=1, max_value=40))
def test_each_edit_is_admitted_and_foretells_the_document(seed: int, edits: int) -> None:
    rng = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=writer) for writer in WRITERS]
    node: Doc[Any] = Doc()
    known: dict[int, int] = {}
    deleted: dict[int, Ranges] = {}
    places = Places()
    for _ in range(edits):
        doc = rng.choice(docs)
        before = doc.get_state()
        edit(doc, rng)
        data = doc.get_update(before)
        admitted = admit(data, known, origin=Origin.CLIENT, writer=doc.client_id, with_structs=True)
        assert not admitted.lacks
        places.add(admitted.update, known, may_clash=False)
        node.apply_update(data)
        known, deleted = admitted.after, deletions.merge(deleted, admitted.update.deletes)
        assert state_vectors.decode(node.get_state()) == known
        for other in docs:
            if rng.random() < 0.5:
                other.apply_update(node.get_update(other.get_state()))
    whole = decode(node.get_update(), with_structs=True)
    assert {writer: ranges[-1][1] for writer, ranges in whole.ranges.items()} == known
    assert deletions.minus(deleted, whole.deletes) == {}
    assert whole.deletes == known_deletes(node)
    Places().add(whole, {}, may_clash=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_replicas_that_heard_all_have_one_digest(seed: int) -> None:
    rng = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=writer) for writer in WRITERS]
    for _ in range(30):
        edit(rng.choice(docs), rng)
    for doc in (*docs, *docs):
        for other in docs:
            other.apply_update(doc.get_update(other.get_state()))
    said = {digest(b"g", 1, state_vectors.decode(doc.get_state()), decode(doc.get_update()).deletes) for doc in docs}
    assert len(said) == 1


ranges_of = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12)


def ids(ranges: Ranges) -> set[int]:
    return {clock for start, end in ranges for clock in range(start, end)}


@given(ranges_of, ranges_of)
def test_deletions_are_sets_of_ids(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    mine = deletions.normalised((start, start + length) for start, length in first)
    other = deletions.normalised((start, start + length) for start, length in second)
    one, two = ({5: mine} if mine else {}), ({5: other} if other else {})
    assert ids(deletions.merge(one, two).get(5, ())) == ids(mine) | ids(other)
    assert ids(deletions.minus(one, two).get(5, ())) == ids(mine) - ids(other)
    assert deletions.decode(deletions.encode(one)) == one
    assert deletions.count(one) == len(ids(mine))
    assert [deletions.contains(one, 5, clock) for clock in range(60)] == [clock in ids(mine) for clock in range(60)]
    for made in (deletions.merge(one, two), deletions.minus(one, two)):
        assert made.get(5, ()) == deletions.normalised(made.get(5, ()))


vectors = st.dictionaries(st.integers(0, 2**53 - 1), st.integers(1, 2**31 - 1), max_size=6)


@given(vectors, vectors)
def test_state_vectors_merge_and_cover(first: dict[int, int], second: dict[int, int]) -> None:
    merged = state_vectors.merge(first, second)
    assert state_vectors.covers(merged, first) and state_vectors.covers(merged, second)
    assert state_vectors.covers(first, second) == (merged == first)
    assert state_vectors.equal(first, second) == (first == second)
    assert state_vectors.decode(state_vectors.encode(merged)) == merged
