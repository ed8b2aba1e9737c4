"""The structs of an update in an order in which each comes after what it refers to."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from .decode import Struct
from .ids import Id
from .lib0 import malformed
from .state_vectors import StateVector


def in_order(structs: Iterable[Struct], known: StateVector) -> Iterator[Struct]:
    """The structs that are not wholly known, each after those that it refers to. The update must lack nothing.

    Raises:
        Invalid: MALFORMED_UPDATE: they wait for each other.
    """
    todo: dict[int, list[Struct]] = {}
    for struct in structs:
        if struct.clock + struct.length > known.get(struct.writer, 0):
            todo.setdefault(struct.writer, []).append(struct)
    for own in todo.values():
        own.reverse()  # the next is the last
    reached: dict[int, int] = {}  # beyond `known`, which may be long
    waiting: dict[int, list[tuple[int, int]]] = {}  # by writer: a heap of which clock of it is needed, and by whom
    ready = list(todo)
    while ready:
        writer = ready.pop()
        own = todo[writer]
        while own:
            missing = _missing(own[-1], reached, known)
            if missing is not None:
                heapq.heappush(waiting.setdefault(missing.writer, []), (missing.clock, writer))
                break
            struct = own.pop()
            reached[writer] = struct.clock + struct.length
            yield struct
        heap = waiting.get(writer, [])
        while heap and heap[0][0] < reached.get(writer, 0):
            ready.append(heapq.heappop(heap)[1])
    if any(todo.values()):
        raise malformed("its structs wait for each other")


def _missing(struct: Struct, reached: StateVector, known: StateVector) -> Id | None:
    for to in (struct.origin, struct.right_origin, struct.parent):
        if isinstance(to, Id) and to.writer != struct.writer:
            held = max(known.get(to.writer, 0), reached.get(to.writer, 0))
            if to.clock >= held:
                return to
    return None
