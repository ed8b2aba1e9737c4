"""Whether an update may be applied to a document.

- Nothing is applied, stored or relayed that was not admitted here, whoever sent it.
- A refusal (`Invalid`, `QuotaExceeded`) is for good. An update that is right but does not follow on what is here is
  not refused: it `lacks` something and must wait, since pycrdt diverges on what comes out of order.
- Clocks without a hole after what is known; references and deletions only to what is known or in the update itself;
  no circle of references inside it: after that, pycrdt applies all of it or nothing fits.
- A writer may be advanced only by whom it belongs to. What is known already may be repeated by anyone.
- That an id known here and in the update stands for the same content cannot be checked: the known one is kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Final, NamedTuple

from tallystick.errors import Invalid, QuotaExceeded, Reason

from .. import limits
from . import deletes as deletions
from .decode import Update, decode
from .deletes import Deletes, Ranges
from .ids import Id
from .lib0 import malformed
from .state_vectors import StateVector


class Origin(Enum):
    """Who hands an update in."""

    CLIENT = "client"
    """May advance the writer it names."""
    WEB = "web"
    """A Yjs client, which drew its id by itself, below `FIRST_WRITER`: may advance one new id, which its connection
    thereby claims, and such ids as the document knows (it comes back, or brings what another tab wrote)."""
    PEER = "peer"
    """Another node: may advance any."""
    SEED = "seed"
    """Decided: `BASE_WRITER` alone."""


class Bounds(NamedTuple):
    """What an update may come to."""

    update_bytes: int = limits.UPDATE_BYTES
    depth: int = limits.UPDATE_DEPTH
    writers: int = limits.DOCUMENT_WRITERS


_BOUNDS: Final = Bounds()


class Admitted(NamedTuple):
    """An update that is right."""

    update: Update
    lacks: bool
    """It needs what is not known here: not to be applied, and nothing below means anything."""
    is_novel: bool
    """False: applying it would change nothing. Where the known deletions were not given, any deletion counts as new."""
    written: dict[int, tuple[int, int]]
    """By writer: the clocks that are new, from the first up to, not with, the second."""
    deleted: dict[int, Ranges]
    """What it deletes; where the known deletions were given: of that, what is new."""
    after: dict[int, int]
    """The state vector once it is applied. If pycrdt says another, the update was not applied whole."""
    claims: frozenset[int]
    """WEB: what the connection may advance from now on."""
    repeats: bool
    """It carries clocks that were known, and may lie about them. What is handed on must be what pycrdt took of it, not
    these bytes: who does not know those clocks yet would believe them."""


def admit(
    data: bytes,
    known: StateVector,
    *,
    origin: Origin,
    writer: int = 0,
    web_writers: Collection[int] = (),
    known_deletes: Deletes | None = None,
    bounds: Bounds = _BOUNDS,
    with_structs: bool = False,
) -> Admitted:
    """Reads an update and judges it against the state vector of a document.

    Args:
        data: an update, format v1.
        known: of the document.
        origin: who hands it in.
        writer: CLIENT: the one that it may advance.
        web_writers: WEB: what this connection has claimed before.
        known_deletes: of the document; costs a pass over the deletions of the update alone.
        bounds: limits.
        with_structs: `Admitted.update` carries the structs.

    Raises:
        Invalid: MALFORMED_UPDATE, TOO_LARGE, TOO_DEEP, FOREIGN_WRITER.
        QuotaExceeded: WRITERS_QUOTA.
    """
    if len(data) > bounds.update_bytes:
        raise Invalid(
            f"an update of {len(data)} bytes, beyond {bounds.update_bytes}",
            reason=Reason.TOO_LARGE,
            metadata={"size_bytes": str(len(data)), "limit": str(bounds.update_bytes)},
        )
    update = decode(data, depth_limit=bounds.depth, with_structs=with_structs)
    written, after, lacks = _follow(update, known)
    claims = _check_writers(written, known, origin, writer, frozenset(web_writers))
    if len(after) > bounds.writers and len(after) > len(known):
        raise QuotaExceeded(
            f"a document of {bounds.writers} writers takes no more",
            reason=Reason.WRITERS_QUOTA,
            metadata={"limit": str(bounds.writers)},
        )
    if update.links and not lacks:
        _check_no_circle(update.links, known, after)
    repeats = any(ranges[0][0] < known.get(writer, 0) for writer, ranges in update.ranges.items())
    deleted = update.deletes if known_deletes is None else deletions.minus(update.deletes, known_deletes)
    return Admitted(update, lacks, bool(written or deleted), written, deleted, after, claims, repeats)


def _follow(update: Update, known: StateVector) -> tuple[dict[int, tuple[int, int]], dict[int, int], bool]:
    """What is new by writer, the state vector after it, and whether something lacks."""
    lacks = False
    written: dict[int, tuple[int, int]] = {}
    after = dict(known)
    for writer, ranges in update.ranges.items():
        have = first = known.get(writer, 0)
        for start, end in ranges:
            if start > have:
                lacks = True
            have = max(have, end)
        if have > first:
            written[writer] = (first, have)
            after[writer] = have
    for writer, end in update.refs.items():
        if end > after.get(writer, 0):
            lacks = True
    for writer, ranges in update.deletes.items():
        if ranges[-1][1] > after.get(writer, 0):
            lacks = True
    return written, after, lacks


def _check_writers(
    written: Iterable[int], known: StateVector, origin: Origin, writer: int, claimed: frozenset[int]
) -> frozenset[int]:
    """The web writers that are claimed from now on."""
    if origin is Origin.PEER:
        return claimed
    if origin is Origin.WEB:
        return _check_web_writers(written, known, claimed)
    mine = limits.BASE_WRITER if origin is Origin.SEED else writer
    for other in written:
        if other != mine:
            raise _foreign(other)
    return claimed


def _check_web_writers(written: Iterable[int], known: StateVector, claimed: frozenset[int]) -> frozenset[int]:
    for writer in written:
        if writer >= limits.FIRST_WRITER or writer == limits.BASE_WRITER:
            raise _foreign(writer)
        if writer in claimed or known.get(writer):
            continue
        if claimed:
            raise _foreign(writer)
        claimed = frozenset((writer,))
    return claimed


def _foreign(writer: int) -> Invalid:
    return Invalid(
        f"the update advances the writer {writer}, which is not its sender's",
        reason=Reason.FOREIGN_WRITER,
        metadata={"writer": str(writer)},
    )


def _check_no_circle(links: Iterable[tuple[Id, Id]], known: StateVector, after: StateVector) -> None:
    """Raises if structs of several writers wait for each other."""
    waits: dict[int, list[tuple[int, Id]]] = {}  # by writer: at which of its clocks it needs what
    for (writer, clock), to in links:
        if to.clock >= known.get(to.writer, 0):
            waits.setdefault(writer, []).append((clock, to))
    if not waits:
        return
    for needs in waits.values():
        needs.reverse()  # they were read by rising clock: the next is the last now
    reached = {writer: known.get(writer, 0) if writer in waits else end for writer, end in after.items()}
    waiting: dict[int, list[tuple[int, int]]] = {}  # by writer: a heap of which clock of it is needed, and by whom
    ready = list(waits)
    while ready:
        writer = ready.pop()
        needs = waits[writer]
        while needs and reached[needs[-1][1].writer] > needs[-1][1].clock:
            needs.pop()
        if needs:
            clock, to = needs[-1]
            reached[writer] = max(reached[writer], clock)
            heapq.heappush(waiting.setdefault(to.writer, []), (to.clock, writer))
        else:
            reached[writer] = after[writer]
        heap = waiting.get(writer, [])
        while heap and heap[0][0] < reached[writer]:
            ready.append(heapq.heappop(heap)[1])
    if any(waits.values()):
        raise malformed("its structs wait for each other")
