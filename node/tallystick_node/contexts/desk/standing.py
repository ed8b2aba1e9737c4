"""Refuses what no client can have meant and pycrdt cannot bear: see `updates.places`.

Rules of this file:
- Clients' updates are judged by where each id of the document stands. Peers' are only followed: what another node has
  merged is merged here too, or the two would never be equal.
- Where ids stand is found out when a client first edits a loaded document, and kept up with each update after that.
  A document whose state is larger than `PLACED_BYTES` is not judged: that would hold up all others.
- What cannot be followed is forgotten, and found out anew; a document that holds what would be refused, because it
  came by a peer, is not judged until it is loaded again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.errors import Invalid
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.crdt import CrdtFailed
from tallystick_node.contexts.desk.library import Loaded
from tallystick_node.contexts.updates.admission import Admitted
from tallystick_node.contexts.updates.decode import decode
from tallystick_node.contexts.updates.places import Places


def is_judged(loaded: Loaded, update: bytes) -> bool:
    """Whether a client's update of this document is: then it has to be decoded with its structs."""
    return not loaded.is_unplaced and max(loaded.size_bytes, len(update)) <= own.PLACED_BYTES


def judge(loaded: Loaded, admitted: Admitted, known: Mapping[int, int]) -> None:
    """Judges a client's update before it is applied, and follows it.

    Raises:
        Invalid: MALFORMED_UPDATE, TOO_DEEP: something stands where it cannot; TYPE_CLASH: a root would be a list and a
            text. Then nothing has changed.
    """
    if loaded.places is None:
        loaded.places = _places_of(loaded)
        loaded.is_unplaced = loaded.places is None
    if loaded.places is not None:
        loaded.places.add(admitted.update, known, may_clash=False)


def follow(loaded: Loaded, admitted: Admitted, known: Mapping[int, int], *, has_structs: bool) -> None:
    """Follows an update that is not judged."""
    if loaded.places is None:
        return
    if not has_structs:
        loaded.places = None
        return
    try:
        loaded.places.add(admitted.update, known, may_clash=True)
    except Invalid:
        loaded.places = None


def _places_of(loaded: Loaded) -> Places | None:
    """None: the document holds what would be refused."""
    places = Places()
    try:
        places.add(decode(loaded.crdt.encode(), with_structs=True), {}, may_clash=True)
    except (Invalid, CrdtFailed):
        return None
    return places
