"""An emoji has two ids, and nothing may come between them."""

from __future__ import annotations

import pytest
from pycrdt import Doc, Text

from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.decode import decode
from tallystick_node.contexts.updates.places import Places

from .build import item, string, update

TEXT = update({5: (0, [item(4, string("a😀b"), parent="t")])})
"""Ids: a 0, the emoji 1 and 2, b 3."""


def add(places: Places, data: bytes, known: dict[int, int]) -> dict[int, int]:
    admitted = admit(data, known, origin=Origin.PEER, with_structs=True)
    assert not admitted.lacks
    places.add(admitted.update, known, may_clash=False)
    return admitted.after


X = string("x")
CUTS = {
    "deleted first half": update({}, {5: [(1, 2)]}),
    "deleted second half": update({}, {5: [(2, 3)]}),
    "deleted up to it": update({}, {5: [(0, 2)]}),
    "inserted behind the first half": update({9: (0, [item(4, X, origin=(5, 1), right_origin=(5, 3))])}),
    "inserted before the second half": update({9: (0, [item(4, X, origin=(5, 0), right_origin=(5, 2))])}),
}


@pytest.mark.parametrize("data", CUTS.values(), ids=CUTS)
def test_what_cuts_a_character_is_refused(data: bytes) -> None:
    places = Places()
    known = add(places, TEXT, {})
    with pytest.raises(Invalid) as caught:
        add(places, data, known)
    assert caught.value.reason is Reason.MALFORMED_UPDATE
    add(places, update({}, {5: [(1, 3)]}), known)
    add(places, update({9: (0, [item(4, X, origin=(5, 2), right_origin=(5, 3))])}), known)


def test_a_character_cut_within_one_update_is_refused() -> None:
    with pytest.raises(Invalid):
        add(Places(), update({5: (0, [item(4, string("😀"), parent="t")])}, {5: [(0, 1)]}), {})


def test_a_known_clock_does_not_end_within_a_character() -> None:
    with pytest.raises(Invalid):
        add(Places(), update({5: (0, [item(4, string("a😀"), parent="t")])}), {5: 2})


def test_a_cut_would_break_what_pycrdt_encodes() -> None:
    """Why they are refused."""
    doc: Doc[Text] = Doc(client_id=7)
    doc.apply_update(TEXT)
    doc.apply_update(CUTS["deleted second half"])
    with pytest.raises(Invalid, match="empty"):
        decode(doc.get_update())
