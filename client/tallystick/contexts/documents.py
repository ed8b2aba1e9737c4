"""The pycrdt document of a replica: it knows which of its roots have a type, and which may be read.

Rules of this file:
- pycrdt learns the type of a root when somebody asks for it (`doc.get(name, type=...)`); until then nothing can
  observe it.
- Two replicas may use one root as a list and as a text before they meet. Read as a list, characters beyond ASCII kill
  pycrdt, or hang it with the interpreter held. So nobody reads a list, or writes into one, before `holds_characters`
  was asked. Types inside others say what they are, and nodes refuse what does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import pycrdt

from tallystick._json import JSON
from tallystick.contexts.changes import plain
from tallystick.errors import Corrupt, TallystickError

SharedType: TypeAlias = "pycrdt.Map[object] | pycrdt.Array[object] | pycrdt.Text"
"""What a root can be for us."""

RootT = TypeVar("RootT", "pycrdt.Map[object]", "pycrdt.Array[object]", pycrdt.Text)


class Document(pycrdt.Doc[SharedType]):
    """A pycrdt document that tells of each root when its type is first known.

    Attributes:
        typed: the roots whose types are known, by name.
        on_typed: told of each new one, inside the transaction in which it became known.
        came: how many updates it has taken.
    """

    def __init__(self, client_id: int) -> None:
        super().__init__(client_id=client_id)
        self.typed: dict[str, SharedType] = {}
        self.on_typed: Callable[[str, SharedType], None] | None = None
        self.came = 0
        self._looked: dict[str, tuple[int, bool]] = {}

    def __setitem__(self, key: str, value: SharedType) -> None:
        """See `pycrdt.Doc`; `get` comes here too."""
        super().__setitem__(key, value)
        known = self.typed.get(key)
        if known is None or type(known) is not type(value):
            self.typed[key] = value
            if self.on_typed is not None:
                self.on_typed(key, value)

    def apply_update(self, update: bytes) -> None:
        """See `pycrdt.Doc`."""
        self.came += 1
        super().apply_update(update)

    def holds_characters(self, name: str) -> bool:
        """Whether the root must not be read as a list. No list is given characters here: only updates bring them."""
        known = self._looked.get(name)
        if known is None or known[0] != self.came:
            known = self._looked[name] = self.came, holds_characters(self, name)
        return known[1]


def look(doc: pycrdt.Doc[SharedType], name: str, root: RootT) -> RootT:
    """The root as this type, asked of pycrdt alone: who follows the replica is not told that it is in use."""
    pycrdt.Doc.__setitem__(doc, name, root)
    return root


def holds_characters(doc: pycrdt.Doc[SharedType], name: str) -> bool:
    """Whether there is text in a root whose type is known."""
    return str(look(doc, name, pycrdt.Text())) != ""


def content_of(doc: Document, name: str, root: SharedType) -> JSON:
    """What is in a root, as JSON. What holds characters is a text, whatever it was asked for as."""
    if isinstance(root, pycrdt.Array) and doc.holds_characters(name):
        return str(look(doc, name, pycrdt.Text()))
    return plain(root)


@contextmanager
def guarded() -> Iterator[None]:
    """Turns what pycrdt raises into ours.

    Its `PanicException` is a BaseException without a public name, so it is known by its name: all else that is no
    Exception passes, and so do errors of ours.

    Raises:
        Corrupt: pycrdt could not.
    """
    try:
        yield
    except TallystickError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Corrupt(f"pycrdt: {error}") from error
        raise
