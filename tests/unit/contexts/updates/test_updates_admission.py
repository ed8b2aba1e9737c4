"""Admission: what is refused, what waits, what may be applied."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map

from tallystick.errors import Invalid, QuotaExceeded, Reason
from tallystick_node.contexts.limits import FIRST_WRITER, LAST_CLOCK, LAST_WRITER
from tallystick_node.contexts.updates.admission import Admitted, Bounds, Origin, admit

from .build import item, update

ME = FIRST_WRITER + 7
OTHER = FIRST_WRITER + 8


def refusal(data: bytes, known: dict[int, int], *, writer: int = ME, origin: Origin = Origin.CLIENT) -> Reason:
    with pytest.raises((Invalid, QuotaExceeded)) as caught:
        admit(data, known, origin=origin, writer=writer)
    return caught.value.reason


def by_me(data: bytes, known: dict[int, int]) -> Admitted:
    return admit(data, known, origin=Origin.CLIENT, writer=ME)


def test_the_26_bytes_that_kill_pycrdt_are_refused() -> None:
    killer = bytes.fromhex("0103080001010161ffffffff0f08010161017e08010161017e00")
    assert refusal(killer, {}, origin=Origin.PEER) is Reason.MALFORMED_UPDATE


def test_an_edit_is_admitted_once_and_then_not_novel() -> None:
    doc: Doc[Map[str]] = Doc(client_id=ME)
    doc.get("m", type=Map)["k"] = "v"
    first = by_me(doc.get_update(), {})
    assert (first.lacks, first.is_novel, first.written, first.after) == (False, True, {ME: (0, 1)}, {ME: 1})
    again = by_me(doc.get_update(), first.after)
    assert (again.lacks, again.is_novel, again.written) == (False, False, {})


def test_what_was_known_may_be_repeated_and_is_told_since_it_may_be_a_lie() -> None:
    lie = update({OTHER: (0, [item(8, bytes([1, 121]), parent="a")]), ME: (0, [item(parent="a")])})
    assert by_me(lie, {OTHER: 1}).repeats
    assert not by_me(update({ME: (1, [item(parent="a")])}), {OTHER: 1, ME: 1}).repeats


def test_a_hole_before_it_makes_an_update_wait() -> None:
    later = update({ME: (5, [item(parent="a")])})
    assert by_me(later, {ME: 4}).lacks
    assert not by_me(later, {ME: 5}).lacks


def test_a_hole_within_it_makes_an_update_wait_unless_it_is_known() -> None:
    holed = update({ME: (0, [item(parent="a"), bytes([10, 3]), item(parent="a")])})
    assert by_me(holed, {}).lacks
    assert not by_me(holed, {ME: 4}).lacks


@pytest.mark.parametrize(
    "refers", [item(origin=(OTHER, 9)), item(right_origin=(OTHER, 9)), item(parent=(OTHER, 9))], ids=["l", "r", "p"]
)
def test_a_reference_to_what_is_not_here_makes_an_update_wait(refers: bytes) -> None:
    refers = update({ME: (0, [refers])})
    assert by_me(refers, {OTHER: 9}).lacks
    assert not by_me(refers, {OTHER: 10}).lacks


def test_a_deletion_of_what_is_not_here_makes_an_update_wait() -> None:
    deletes = update({}, {OTHER: [(0, 10)]})
    assert by_me(deletes, {OTHER: 9}).lacks
    assert not by_me(deletes, {OTHER: 10}).lacks


def test_a_client_advances_its_own_writer_alone() -> None:
    both = update({OTHER: (0, [item(parent="a")]), ME: (0, [item(parent="a")])})
    assert refusal(both, {}) is Reason.FOREIGN_WRITER
    assert by_me(both, {OTHER: 1}).written == {ME: (0, 1)}


def test_a_peer_advances_any_writer() -> None:
    both = update({OTHER: (0, [item(parent="a")]), ME: (0, [item(parent="a")])})
    assert admit(both, {}, origin=Origin.PEER).after == {ME: 1, OTHER: 1}


def test_a_seed_is_of_the_first_writer_alone() -> None:
    assert admit(update({1: (0, [item(parent="a")])}), {}, origin=Origin.SEED).written == {1: (0, 1)}
    assert refusal(update({2: (0, [item(parent="a")])}), {}, origin=Origin.SEED) is Reason.FOREIGN_WRITER


def test_a_web_client_claims_one_new_id() -> None:
    mine = update({77: (0, [item(parent="a")])})
    claimed = admit(mine, {}, origin=Origin.WEB)
    assert claimed.claims == {77}
    assert admit(mine, {}, origin=Origin.WEB, web_writers=claimed.claims).claims == {77}
    second = update({78: (0, [item(parent="a")])})
    with pytest.raises(Invalid, match="78"):
        admit(second, {}, origin=Origin.WEB, web_writers=claimed.claims)


def test_a_web_client_that_comes_back_goes_on_with_its_id() -> None:
    assert admit(update({77: (3, [item(parent="a")])}), {77: 3}, origin=Origin.WEB, web_writers=(5,)).claims == {5}


@pytest.mark.parametrize("writer", [1, FIRST_WRITER, LAST_WRITER])
def test_a_web_client_advances_no_id_that_was_handed_out(writer: int) -> None:
    foreign = update({writer: (3, [item(parent="a")])})
    assert refusal(foreign, {writer: 3}, origin=Origin.WEB) is Reason.FOREIGN_WRITER


def test_what_is_new_of_the_deletions_is_told() -> None:
    deletes = update({}, {OTHER: [(0, 4), (6, 9)]})
    admitted = admit(deletes, {OTHER: 9}, origin=Origin.PEER, known_deletes={OTHER: ((2, 7),)})
    assert admitted.deleted == {OTHER: ((0, 2), (7, 9))}
    known = admit(deletes, {OTHER: 9}, origin=Origin.PEER, known_deletes={OTHER: ((0, 9),)})
    assert (known.deleted, known.is_novel) == ({}, False)


def test_structs_that_wait_for_each_other_are_refused() -> None:
    circle = update({ME: (0, [item(origin=(OTHER, 0))]), OTHER: (0, [item(origin=(ME, 0))])})
    assert refusal(circle, {}, origin=Origin.PEER) is Reason.MALFORMED_UPDATE
    assert not admit(circle, {ME: 1}, origin=Origin.PEER).lacks


def test_structs_that_build_on_each_other_in_turns_are_admitted() -> None:
    doc: Doc[Array[int]] = Doc(client_id=ME)
    other: Doc[Array[int]] = Doc(client_id=OTHER)
    for turn in range(20):
        now, then = (doc, other) if turn % 2 else (other, doc)
        now.get("a", type=Array).append(turn)
        then.apply_update(now.get_update(then.get_state()))
    admitted = admit(doc.get_update(), {}, origin=Origin.PEER)
    assert admitted.update.links
    assert admitted.after == {ME: 10, OTHER: 10}


def test_a_document_takes_no_more_writers_than_its_bound() -> None:
    third = update({ME: (0, [item(parent="a")])})
    with pytest.raises(QuotaExceeded):
        admit(third, {5: 1, 6: 1}, origin=Origin.PEER, bounds=Bounds(writers=2))
    assert admit(third, {5: 1, ME: 1}, origin=Origin.PEER, bounds=Bounds(writers=2)).written == {}


def test_an_update_beyond_the_bound_is_refused_unread() -> None:
    with pytest.raises(Invalid) as caught:
        admit(bytes(11), {}, origin=Origin.PEER, bounds=Bounds(update_bytes=10))
    assert caught.value.reason is Reason.TOO_LARGE


def test_clocks_end_where_yrs_can_still_count() -> None:
    last = update({ME: (LAST_CLOCK - 1, [item(parent="a")])})
    assert not by_me(last, {ME: LAST_CLOCK - 1}).lacks
    assert refusal(update({ME: (LAST_CLOCK, [item(parent="a")])}), {ME: LAST_CLOCK}) is Reason.MALFORMED_UPDATE
    assert refusal(update({}, {OTHER: [(1, LAST_CLOCK + 1)]}), {}) is Reason.MALFORMED_UPDATE
