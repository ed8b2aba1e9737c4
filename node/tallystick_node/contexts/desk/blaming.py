"""Blame: who wrote what is there now.

Rules of this file:
- A line for each key, each element of a list, and each run of characters of one edit: `/notes/0-12` are the characters
  from the first up to, not with, the thirteenth. A type inside another has a line of its own, with nothing in it, and
  lines for what is in it.
- Values come from pycrdt, ids from the layout: both have one order.
- Pages are bounded in lines and bytes; a root at a time can be asked for. A page goes on where the one before ended, by
  counting what is there: what is edited meanwhile may be told twice, or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeAlias

from pycrdt import Array, Map, Text, XmlElement, XmlFragment, XmlText

from tallystick.errors import Invalid, Reason
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.authors import Authors
from tallystick_node.contexts.desk.copying import own_value
from tallystick_node.contexts.desk.crdt import Crdt, guarded
from tallystick_node.contexts.desk.layouts import Layouts
from tallystick_node.contexts.desk.library import Library
from tallystick_node.contexts.desk.overlapping import pointer
from tallystick_node.contexts.desk.rendering import RESERVED_ROOT, check_readable, plain, roots_of
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates.ids import Id
from tallystick_node.contexts.updates.layout import Item, Layout
from tallystick_node.contexts.updates.places import Parent

_EMPTY: Final = {Map: b"{}", Array: b"[]", Text: b'""'}
_TOKEN_CHARS: Final = 32
_XML: Final = (XmlElement, XmlText, XmlFragment)


_Place: TypeAlias = tuple[int, int]
"""Where a page begins: so many pieces from the first, so many characters into that one."""


class _Piece(NamedTuple):
    """What is there, and its first id."""

    path: tuple[str, ...]
    at: Id
    value: bytes
    """As JSON text; of characters empty."""
    characters: str = ""
    start: int = 0
    """Of characters: the place of the first one in the text."""
    place: _Place = (0, 0)


class Blamer:
    """Answers from the documents of a library."""

    def __init__(self, rows: Rows, library: Library, layouts: Layouts) -> None:
        self._rows = rows
        self._library = library
        self._layouts = layouts

    def blame(self, asked: worker_pb2.Blame) -> context_pb2.BlameResponse:
        """A page.

        Raises:
            Invalid: TOO_LARGE, the document is not taken apart; INVALID_VALUE, a list cannot be read; INVALID_REQUEST,
                no page begins there.
            RowDamaged, CrdtFailed; and as `Library.open`.
        """
        loaded = self._library.open(ContextId.of(asked.id))
        layout = self._layouts.of(loaded)
        if layout is None:
            raise Invalid(
                f"a document beyond {own.LAYOUT_BYTES} bytes is not taken apart",
                reason=Reason.TOO_LARGE,
                metadata={"limit": str(own.LAYOUT_BYTES)},
            )
        check_readable(loaded.crdt)
        pieces, following = guarded(_some_pieces, loaded.crdt, layout, asked.root, _place_of(asked.after))
        ends = [Id(piece.at.writer, piece.at.clock + max(0, _units(piece.characters) - 1)) for piece in pieces]
        authors = Authors(self._rows, loaded.row, chain((piece.at for piece in pieces), ends))
        lines = list(islice(_lines(pieces, authors), own.BLAME_LINES + 1))
        if len(lines) > own.BLAME_LINES:
            following = lines.pop()[0]
        response = context_pb2.BlameResponse(lines=(line for _, line in lines), more=following is not None)
        if following is not None:
            response.next = "{}.{}".format(*following)
        return response


def _place_of(token: str) -> _Place:
    if not token:
        return 0, 0
    pieces, _, characters = token.partition(".")
    if not (pieces.isdecimal() and characters.isdecimal() and len(token) <= _TOKEN_CHARS):
        raise Invalid(f"no page begins at {token!r:.40}", reason=Reason.INVALID_REQUEST, metadata={"field": "after"})
    return int(pieces), int(characters)


def _some_pieces(crdt: Crdt, layout: Layout, root: str, after: _Place) -> tuple[list[_Piece], _Place | None]:
    """From a place on; and the place of the next one, if there are more."""
    found: list[_Piece] = []
    size_bytes = 0
    first, characters = after
    with crdt.doc.transaction():
        roots = roots_of(crdt)
        names = [name for name in sorted(roots) if name != RESERVED_ROOT and root in ("", name)]
        pieces = chain.from_iterable(_inside((name,), name, roots[name], layout) for name in names)
        for number, each in enumerate(islice(pieces, first, None), first):
            piece = each._replace(place=(number, 0))
            if number == first and characters:
                if characters >= len(piece.characters):
                    continue
                piece = _without(piece, piece.characters[:characters])
            size_bytes += len(piece.value) + len(piece.characters.encode())
            if len(found) >= own.BLAME_LINES or (size_bytes > own.BLAME_BYTES and found):
                return found, piece.place
            found.append(piece)
    return found, None


def _without(piece: _Piece, head: str) -> _Piece:
    """The characters behind its first ones."""
    return piece._replace(
        at=Id(piece.at.writer, piece.at.clock + _units(head)),
        characters=piece.characters[len(head) :],
        start=piece.start + len(head),
        place=(piece.place[0], piece.place[1] + len(head)),
    )


def _inside(path: tuple[str, ...], parent: Parent, value: Any, layout: Layout) -> Iterator[_Piece]:
    if isinstance(value, Map):
        for key in sorted(value.keys()):
            item = layout.of_key(parent, key)
            if item is not None:
                yield from _one((*path, key), Id(item.writer, item.clock + item.length - 1), value[key], layout)
    elif isinstance(value, Array):
        elements = list(value)
        ids = (Id(item.writer, item.clock + n) for item in layout.sequence(parent) for n in range(item.length))
        for index, (at, element) in enumerate(zip(ids, elements, strict=False)):
            yield from _one((*path, str(index)), at, element, layout)
    elif isinstance(value, Text):
        yield from _of_text(path, layout.sequence(parent), value)
    else:
        for index, (item, child) in enumerate(zip(layout.sequence(parent), value.children, strict=False)):
            yield _Piece((*path, str(index)), item.id, _json(str(child)))


def _one(path: tuple[str, ...], at: Id, value: object, layout: Layout) -> Iterator[_Piece]:
    if isinstance(value, (Map, Array, Text)):
        yield _Piece(path, at, _EMPTY[type(value)])
        yield from _inside(path, at, value, layout)
    else:
        yield _Piece(path, at, _json(str(value) if isinstance(value, _XML) else plain(value)))


def _of_text(path: tuple[str, ...], items: Iterable[Item], text: Text) -> Iterator[_Piece]:
    """Each item's characters. An item has UTF-16 units, a path counts characters."""
    units: list[str | bytes] = []
    for value, _ in text.diff():
        if isinstance(value, str):
            for character in value:
                units.append(character)
                if character > "\uffff":
                    units.append("")  # the second id of the same character
        else:
            units.append(_json(plain(own_value(value))))
    at = place = 0
    for item in items:
        taken = units[at : at + item.length]
        at += item.length
        if len(taken) == 1 and isinstance(taken[0], bytes):
            yield _Piece((*path, f"{place}-{place + 1}"), item.id, taken[0])
            place += 1
            continue
        characters = "".join(unit for unit in taken if isinstance(unit, str))
        if characters:
            yield _Piece(path, item.id, b"", characters, place)
        place += len(characters)


def _lines(pieces: Iterable[_Piece], authors: Authors) -> Iterator[tuple[_Place, context_pb2.BlameLine]]:
    """A line for each piece, with its place; characters cut and joined so that each line is of one edit."""
    run: _Piece | None = None
    edit = context_pb2.Edit()
    for piece in chain.from_iterable(_cut(piece, authors) for piece in pieces):
        by = authors.of(piece.at)
        if (
            run is not None
            and run.characters
            and piece.characters
            and (run.path, run.start + len(run.characters), _named(edit)) == (piece.path, piece.start, _named(by))
        ):
            run = run._replace(characters=run.characters + piece.characters)
            continue
        if run is not None:
            yield run.place, _line(run, edit)
        run, edit = piece, by
    if run is not None:
        yield run.place, _line(run, edit)


def _named(edit: context_pb2.Edit) -> tuple[int, int]:
    return (edit.number, edit.writer)


def _cut(piece: _Piece, authors: Authors) -> Iterator[_Piece]:
    """Characters, cut where another edit of the same writer wrote on."""
    while (size := _units(piece.characters)) > 0:
        left = authors.of(piece.at).end_clock - piece.at.clock
        if left >= size or left < 1:
            break
        head = _first_units(piece.characters, left)
        yield piece._replace(characters=head)
        piece = _without(piece, head)
    yield piece


def _units(characters: str) -> int:
    return len(characters) if characters.isascii() else len(characters.encode("utf-16-le")) // 2


def _first_units(characters: str, count: int) -> str:
    """The first so many UTF-16 units; at least a character."""
    if characters.isascii():
        return characters[:count]
    head = characters.encode("utf-16-le")[: 2 * count].decode("utf-16-le", "ignore")
    return head or characters[:1]


def _line(piece: _Piece, edit: context_pb2.Edit) -> context_pb2.BlameLine:
    path, value = piece.path, piece.value
    if piece.characters:
        path = (*path, f"{piece.start}-{piece.start + len(piece.characters)}")
        value = _json(piece.characters)
    return context_pb2.BlameLine(path=pointer(path), value=value, edit=edit)


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return text if len(text) <= own.BLAME_VALUE_BYTES else b"null"
