"""Hostile updates: right ones bent byte by byte, and wrong ones in the right form."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tallystick_node.contexts.updates.lib0 import utf16_length
from tests.unit.contexts.updates.build import AtId, item, number, string, update

_HUGE: Final = (2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**53 - 1, 2**53, 2**63 - 1, 2**64)
_NEW_WRITERS: Final = (0, 1, 3, 2**32 + 99, 2**53 - 1)

_VALUES: Final = (
    b"\x7e", b"\x7f", b"\x7d\x05", b"\x77\x01x", b"\x75\x02\x78\x79", b"\x76\x01\x01k\x7e", b"\x74\x01\0",
    b"\x7a" + b"\xff" * 8, b"\x7b\x7f\xf8" + bytes(6), b"\x7d\xff\xff\xff\xff\xff\xff\xff\xff\x3f",
)  # fmt: skip
"""Values of lib0."""


class Inputs:
    """Draws updates against a document; the same `rng` draws the same ones."""

    def __init__(self, rng: random.Random, corpus: Sequence[bytes], roots: Sequence[str]) -> None:
        self._rng = rng
        self._corpus = corpus
        self._roots = roots
        self._ways: Sequence[Callable[[bytes], bytes]] = (
            self._flip, self._flip, self._truncate, self._huge, self._insert, self._remove, self._splice, self._nest,
        )  # fmt: skip

    def draw(self, known: Mapping[int, int]) -> bytes:
        """One update; `known` is the state vector of the document."""
        rng = self._rng
        if rng.random() < 0.4:
            data = Forge(rng, known, self._roots).draw()
            if rng.random() < 0.7:
                return data
        else:
            data = rng.choice(self._corpus)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(self._ways)(data)
        return data

    def _flip(self, data: bytes) -> bytes:
        bent = bytearray(data)
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            if bent:
                at = self._rng.randrange(len(bent))
                bent[at] = self._rng.choice((bent[at] ^ (1 << self._rng.randrange(8)), self._rng.randrange(256)))
        return bytes(bent)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._rng.randrange(len(data) + 1)]

    def _huge(self, data: bytes) -> bytes:
        at = self._rng.randrange(len(data) + 1)
        return data[:at] + number(self._rng.choice(_HUGE)) + data[at + self._rng.randrange(2) :]

    def _insert(self, data: bytes) -> bytes:
        at = self._rng.randrange(len(data) + 1)
        return data[:at] + self._rng.randbytes(self._rng.randrange(1, 5)) + data[at:]

    def _remove(self, data: bytes) -> bytes:
        at = self._rng.randrange(len(data) + 1)
        return data[:at] + data[at + self._rng.randrange(1, 5) :]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._corpus)
        return data[: self._rng.randrange(len(data) + 1)] + other[self._rng.randrange(len(other) + 1) :]

    def _nest(self, data: bytes) -> bytes:
        depth = self._rng.choice((60, 65, 300))
        nested = self._rng.choice((b"\x75\x01" * depth + b"\x7e", b"\x76\x01\x01k" * depth + b"\x7e"))
        at = self._rng.randrange(len(data) + 1)
        return data[:at] + nested + data[at:]


class Forge:
    """Updates in the right form that refer to whatever there is."""

    def __init__(self, rng: random.Random, known: Mapping[int, int], roots: Sequence[str]) -> None:
        self._rng = rng
        self._known = known
        self._roots = roots
        self._ends: dict[int, int] = dict(known)

    def draw(self) -> bytes:
        """An update."""
        rng = self._rng
        sections: dict[int, tuple[int, list[bytes]]] = {}
        writers = rng.sample([*self._known, *_NEW_WRITERS], k=min(rng.choice((0, 1, 1, 1, 2, 3)), 3 + len(self._known)))
        for writer in writers:
            clock = max(0, self._known.get(writer, 0) - rng.choice((0, 0, 0, 0, 1, 3)))
            structs: list[bytes] = []
            end = clock
            for _ in range(rng.randrange(1, 6)):
                self._ends[writer] = end
                struct, length = self._struct()
                structs.append(struct)
                end += length
            self._ends[writer] = end
            sections[writer] = (clock, structs)
        return update(sections, self._deletes())

    def _deletes(self) -> dict[int, list[tuple[int, int]]]:
        rng = self._rng
        deletes: dict[int, list[tuple[int, int]]] = {}
        for writer, end in self._ends.items():
            if end and rng.random() < 0.4:
                cuts = sorted(rng.sample(range(end + 1), k=min(end + 1, rng.choice((2, 2, 4)))))
                deletes[writer] = list(zip(cuts[::2], cuts[1::2], strict=False))
        return deletes

    def _id(self) -> AtId | None:
        writers = [writer for writer, end in self._ends.items() if end]
        if not writers:
            return None
        writer = self._rng.choice(writers)
        return writer, self._rng.randrange(self._ends[writer])

    def _struct(self) -> tuple[bytes, int]:
        rng = self._rng
        if rng.random() < 0.05:
            length = rng.choice((1, 2, 2**31 - 5000))
            return bytes([rng.choice((0, 10))]) + number(length), length
        kind, content, length = self._content()
        parent: str | AtId = rng.choice(self._roots)
        if rng.random() < 0.5:
            parent = self._id() or parent
        return (
            item(
                kind,
                content,
                origin=self._id() if rng.random() < 0.4 else None,
                right_origin=self._id() if rng.random() < 0.4 else None,
                parent=parent,
                key=rng.choice((None, "k", "l", "")),
            ),
            length,
        )

    def _content(self) -> tuple[int, bytes, int]:
        rng = self._rng
        match rng.choice((1, 3, 4, 4, 5, 6, 6, 7, 7, 8, 8)):
            case 1:
                length = rng.choice((1, 2, 9, 2**31 - 5000))
                return 1, number(length), length
            case 3:
                return 3, string(b"\0\1"), 1
            case 4:
                text = rng.choice(("a", "ab", "é", "字字", "x😀y"))
                return 4, string(text), utf16_length(text)
            case 5:
                return 5, string(rng.choice(('{"a":1}', "null", "[1,[2]]", '"s"'))), 1
            case 6:
                return 6, string(rng.choice(("bold", "", "é"))) + string(rng.choice(("true", "null", '{"x":[]}'))), 1
            case 7:
                return 7, rng.choice((b"\0", b"\1", b"\2", b"\3\1p", b"\4", b"\5\1h", b"\6")), 1
            case _:
                length = rng.randrange(1, 4)
                return 8, number(length) + b"".join(rng.choice(_VALUES) for _ in range(length)), length
