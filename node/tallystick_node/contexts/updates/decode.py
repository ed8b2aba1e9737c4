"""Yjs's update format v1, read without pycrdt.

    update  = number of sections, sections, deletions
    section = number of structs, writer, first clock, structs
    struct  = info byte, ...: GC (0) and Skip (10) are a length; else an item: origin?, right origin?, parent (only
              where neither origin says it), key?, content

- One pass, no recursion, bounded by the size of the bytes: every count is followed by at least a byte each.
- Refused: what no Yjs writes (empty structs, a writer twice, numbers longer than need be), what yrs or JavaScript
  cannot hold, references of an item to itself or to what its own writer wrote later, and some kinds: documents inside
  documents, weak links; XML hooks and the old JSON content, which yrs reads otherwise than Yjs writes them: what
  follows them would be read as something else than was checked here.
- What an update says is not yet whether it fits a document: that is `admission`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from ..limits import LAST_CLOCK, UPDATE_DEPTH
from .deletes import Ranges
from .deletes import read as read_deletes
from .ids import Id, check_end, check_writer, read_id
from .lib0 import malformed, read_number, read_string, skip_bytes, utf16_length
from .values import check_json, skip_any


class Kind(IntEnum):
    """What a struct holds; the numbers are Yjs's."""

    GC = 0
    DELETED = 1
    BINARY = 3
    STRING = 4
    EMBED = 5
    FORMAT = 6
    TYPE = 7
    ANY = 8


_SKIP: Final = 10
_HAS_KEY: Final = 0x20
_HAS_RIGHT_ORIGIN: Final = 0x40
_HAS_ORIGIN: Final = 0x80

_TYPE_NAMED: Final = 3
"""The type that carries a name: XML elements. (So do XML hooks, 5, but yrs does not read it.)"""

_TYPES: Final = (0, 1, 2, 4, 6)
"""Types that carry nothing: array, map, text, XML fragment, XML text."""


class Struct(NamedTuple):
    """A run of ids as it was inserted."""

    writer: int
    clock: int
    length: int
    kind: Kind
    parent: str | Id | None
    """The root's name or the id of the type it is in; None: as the origin's, or the right origin's."""
    key: str | None
    """The key in a map; None: not in a map, or as the origin's."""
    origin: Id | None
    """What stood before it when it was inserted: of a list or text the left neighbour, of a key the value before."""
    right_origin: Id | None
    content: tuple[int, int]
    """Where its content is in the update: first byte, and the one after the last."""
    type_ref: int
    """TYPE: which type, as Yjs counts them; else -1."""


class Update(NamedTuple):
    """What an update says."""

    ranges: dict[int, Ranges]
    """By writer: the clocks it carries, sorted and apart; holes where it skips."""
    refs: dict[int, int]
    """By writer: one more than the highest clock that structs of other writers refer to."""
    deletes: dict[int, Ranges]
    """By writer: the clocks it deletes."""
    types: int
    """How many nested types it makes."""
    roots: frozenset[str]
    """Roots that it names."""
    links: tuple[tuple[Id, Id], ...]
    """Which id refers to one of another writer; only of an update of several writers."""
    halves: tuple[Id, ...]
    """The second ids of characters that take two."""
    structs: tuple[Struct, ...]
    """All of it, where they were asked for."""


def decode(data: bytes, *, depth_limit: int = UPDATE_DEPTH, with_structs: bool = False) -> Update:
    """What these bytes say.

    Raises:
        Invalid: MALFORMED_UPDATE; TOO_DEEP: a value nests deeper than `depth_limit`.
    """
    try:
        return _Reader(data, depth_limit, with_structs).read()
    except IndexError:
        raise malformed("it ends early") from None
    except UnicodeDecodeError:
        raise malformed("a string is not UTF-8") from None


class _Reader:
    __slots__ = (
        "_at", "_data", "_depth_limit", "_halves", "_links", "_ranges", "_refs", "_roots", "_structs", "_types",
        "_with_structs",
    )  # fmt: skip

    def __init__(self, data: bytes, depth_limit: int, with_structs: bool) -> None:
        self._data = data
        self._at = 0
        self._depth_limit = depth_limit
        self._with_structs = with_structs
        self._ranges: dict[int, Ranges] = {}
        self._refs: dict[int, int] = {}
        self._types = 0
        self._roots: set[str] = set()
        self._links: list[tuple[Id, Id]] | None = None
        self._halves: list[Id] = []
        self._structs: list[Struct] = []

    def read(self) -> Update:
        data = self._data
        sections, self._at = read_number(data, 0)
        if sections > 1:
            self._links = []
        for _ in range(sections):
            self._read_section()
        deletes, at = read_deletes(data, self._at)
        if at != len(data):
            raise malformed("something follows it")
        return Update(
            self._ranges, self._refs, deletes, self._types, frozenset(self._roots), tuple(self._links or ()),
            tuple(self._halves), tuple(self._structs),
        )  # fmt: skip

    def _read_section(self) -> None:
        data = self._data
        number, at = read_number(data, self._at)
        writer, at = read_number(data, at)
        check_writer(writer)
        clock, self._at = read_number(data, at)
        if writer in self._ranges:
            raise malformed("a writer has two sections")
        if not number:
            raise malformed("a section is empty")
        ranges: list[tuple[int, int]] = []
        info = 0
        for _ in range(number):
            info = data[self._at]
            self._at += 1
            if info in (Kind.GC, _SKIP):
                length, self._at = read_number(data, self._at)
            else:
                length = self._read_item(info, writer, clock)
            if not length:
                raise malformed("a struct is empty")
            end = clock + length
            if end > LAST_CLOCK:
                check_end(end)
            if info != _SKIP:
                if ranges and ranges[-1][1] == clock:
                    ranges[-1] = (ranges[-1][0], end)
                else:
                    ranges.append((clock, end))
                if info == Kind.GC and self._with_structs:
                    self._structs.append(
                        Struct(writer, clock, length, Kind.GC, None, None, None, None, (self._at, self._at), -1)
                    )
            clock = end
        if info == _SKIP:
            raise malformed("a section ends with a skip")
        self._ranges[writer] = tuple(ranges)

    def _read_item(self, info: int, writer: int, clock: int) -> int:
        data, at = self._data, self._at
        origin = right_origin = key = None
        parent: str | Id | None = None
        if info & _HAS_ORIGIN:
            origin, at = read_id(data, at)
            self._refer(writer, clock, origin)
        if info & _HAS_RIGHT_ORIGIN:
            right_origin, at = read_id(data, at)
            self._refer(writer, clock, right_origin)
        if origin is None and right_origin is None:
            parent, at = self._read_parent(at)
            if isinstance(parent, Id):
                self._refer(writer, clock, parent)
            if info & _HAS_KEY:
                key, at = read_string(data, at)
        self._at = at
        length = self._read_content(info & 0x1F, writer, clock)
        if self._with_structs:
            kind = Kind(info & 0x1F)
            content = (at, self._at)
            type_ref = data[at] if kind == Kind.TYPE else -1
            self._structs.append(
                Struct(writer, clock, length, kind, parent, key, origin, right_origin, content, type_ref)
            )
        return length

    def _read_parent(self, at: int) -> tuple[str | Id, int]:
        is_root = self._data[at]
        at += 1
        if is_root == 1:
            name, at = read_string(self._data, at)
            self._roots.add(name)
            return name, at
        if is_root:
            raise malformed("a parent is neither a root nor an id")
        return read_id(self._data, at)

    def _refer(self, writer: int, clock: int, to: Id) -> None:
        if to.writer == writer:
            if to.clock >= clock:
                raise malformed("it refers to what comes after it")
            return
        if to.clock >= self._refs.get(to.writer, 0):
            self._refs[to.writer] = to.clock + 1
        if self._links is not None:
            self._links.append((Id(writer, clock), to))

    def _read_content(self, kind: int, writer: int, clock: int) -> int:
        """The length in ids; the position moves behind the content."""
        data, at = self._data, self._at
        length = 1
        if kind == Kind.STRING:
            text, at = read_string(data, at)
            length = utf16_length(text)
            if length != len(text):
                self._note_halves(text, writer, clock)
        elif kind == Kind.ANY:
            length, at = read_number(data, at)
            if length > len(data) - at:
                raise malformed("an item has more values than the update has bytes")
            for _ in range(length):
                at = skip_any(data, at, self._depth_limit)
        elif kind == Kind.DELETED:
            length, at = read_number(data, at)
        elif kind == Kind.TYPE:
            at = self._read_type(at)
        elif kind == Kind.BINARY:
            at = skip_bytes(data, at)
        elif kind in (Kind.EMBED, Kind.FORMAT):
            if kind == Kind.FORMAT:
                _, at = read_string(data, at)
            text, at = read_string(data, at)
            check_json(text, self._depth_limit)
        else:
            raise malformed(f"content of the kind {kind} is not taken")
        self._at = at
        return length

    def _note_halves(self, text: str, writer: int, clock: int) -> None:
        for character in text:
            clock += 1
            if character > "\uffff":
                self._halves.append(Id(writer, clock))
                clock += 1

    def _read_type(self, at: int) -> int:
        self._types += 1
        kind = self._data[at]
        at += 1
        if kind in _TYPES:
            return at
        if kind == _TYPE_NAMED:
            return read_string(self._data, at)[1]
        raise malformed(f"a nested type of the kind {kind} is not taken")
