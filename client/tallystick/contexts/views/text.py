"""A text that several edit at once.

Rules of this file:
- Places are counted as in a Python str, in code points; pycrdt counts bytes of UTF-8, and a place inside a character
  ends in a text that other replicas read differently. As long as all is ASCII both are the same, and no edit reads the
  text; that it is ASCII stays known as long as nobody but this view added anything, which the state vector tells.
- Negative places and places beyond the end mean what they mean in a slice.
- What two replicas insert at one place both stays, each whole. What one deletes and another edits is deleted, the
  other's insertion stays.
"""

from __future__ import annotations

from tallystick.contexts.views.held import Held
from tallystick.contexts.views.roots import TextRoot, View
from tallystick.contexts.views.shapes import Kind
from tallystick.contexts.views.text_diff import text_edits
from tallystick.contexts.views.values import Value, ValueLike, check_key, check_text, child, normalise, read_value


class TextView(View[TextRoot]):
    """A root that is a text.

    Example:
        notes = context.text("notes")
        notes.append("first line\\n")
        notes.insert(0, "# Notes\\n")
        str(notes)

    Raises:
        Invalid: `INVALID_VALUE`: no str, or a lone surrogate; `TOO_LARGE`; `TYPE_CLASH`: the root is of another kind.
    """

    kind = Kind.TEXT

    def __init__(self, held: Held, name: str) -> None:
        super().__init__(held, name)
        self._ascii_state = b""
        """The state vector at which the text was known to be ASCII; empty: never."""

    def __str__(self) -> str:
        return str(self._root())

    def __len__(self) -> int:
        root = self._root()
        return len(root) if self._is_ascii(root) else len(str(root))

    def __getitem__(self, index: int | slice) -> str:
        return str(self)[index]

    def __contains__(self, part: str) -> bool:
        return part in str(self)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {str(self)!r:.200})"

    def insert(self, index: int, text: str) -> None:
        """Inserts before this place."""
        self.replace(index, index, text)

    def append(self, text: str) -> None:
        """Adds at the end."""
        length = len(self)
        self.replace(length, length, text)

    def delete(self, start: int, stop: int) -> None:
        """Removes what lies from `start` up to, not with, `stop`."""
        self.replace(start, stop, "")

    def clear(self) -> None:
        """Removes what is there now; what is inserted elsewhere meanwhile stays."""
        self.replace(0, len(self), "")

    def replace(self, start: int, stop: int, text: str) -> None:
        """Puts the text in place of what lies from `start` up to, not with, `stop`, in one edit."""
        plain = check_text(text, self._path)
        root = self._root()
        is_ascii = self._is_ascii(root)
        start, stop = _range(start, stop, len(root) if is_ascii else len(str(root)))
        if start == stop and not plain:
            return
        with self._edit(root) as edited:
            is_ascii = is_ascii if edited is root else self._is_ascii(edited)
            self._replace(edited, start, stop, plain, is_ascii=is_ascii)

    def set(self, text: str) -> None:
        """Makes the text this one, by the smallest edits: what is the same stays, with all that others do there."""
        plain = check_text(text, self._path)
        edits = text_edits(str(self), plain)
        if not edits:
            return
        with self._edit() as root:
            for edit in edits:
                self._replace(root, edit.start, edit.stop, edit.text, is_ascii=self._is_ascii(root))

    def format(self, start: int, stop: int, attributes: dict[str, ValueLike]) -> None:
        """Gives what lies there attributes, `{"bold": True}`; None takes one away."""
        plain: dict[str, Value] = {
            check_key(name, self._path): normalise(value, child(self._path, name)) for name, value in attributes.items()
        }
        start, stop = _range(start, stop, len(self))
        if start == stop or not plain:
            return
        with self._edit() as root:
            first, last = (start, stop) if self._is_ascii(root) else self._units(root, start, stop)
            root.format(first, last, plain)

    def runs(self) -> list[tuple[str, dict[str, Value]]]:
        """The text in runs, each with its attributes."""
        found = []
        for part, attributes in self._root().diff():
            if isinstance(part, str):
                found.append((part, {name: read_value(value) for name, value in (attributes or {}).items()}))
        return found

    def _replace(self, root: TextRoot, start: int, stop: int, text: str, *, is_ascii: bool) -> None:
        first, last = (start, stop) if is_ascii else self._units(root, start, stop)
        if first < last:
            del root[first:last]
        if text:
            root.insert(first, text)
        self._ascii_state = self._held.doc.get_state() if is_ascii and text.isascii() else b""

    def _is_ascii(self, root: TextRoot) -> bool:
        """Whether places and bytes are the same, embedded things counted."""
        state = self._held.doc.get_state()
        if not self._ascii_state or state != self._ascii_state:
            text = str(root)
            self._ascii_state = state if text.isascii() and len(text) == len(root) else b""
        return bool(self._ascii_state)

    def _units(self, root: TextRoot, start: int, stop: int) -> tuple[int, int]:
        """Places in a text that is not ASCII, as pycrdt counts them."""
        text = str(root)
        first, last = len(text[:start].encode()), len(text[:stop].encode())
        if len(text.encode()) == len(root):
            return first, last
        if len(root) != sum(len(part.encode()) if isinstance(part, str) else 1 for part, _ in root.diff()):
            self._clash(Kind.LIST)
        return _past_embedded(root, first), _past_embedded(root, last)


def _range(start: int, stop: int, length: int) -> tuple[int, int]:
    """Places as in a slice."""
    start, stop, _ = slice(start, stop).indices(length)
    return start, max(start, stop)


def _past_embedded(root: TextRoot, text_bytes: int) -> int:
    """The place in front of which lie that many bytes of text, in a text with embedded things that count 1."""
    embedded = 0
    for part, _ in root.diff():
        if not isinstance(part, str):
            embedded += 1
        elif text_bytes <= (size_bytes := len(part.encode())):
            break
        else:
            text_bytes -= size_bytes
            embedded += size_bytes
    return embedded + text_bytes
