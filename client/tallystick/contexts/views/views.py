"""The views of one context, by name.

Rules of this file:
- A view that was made is kept and given again, so that what it knows is not learned anew; as many as a document has
  roots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

import pycrdt

from tallystick._json import JSON
from tallystick.contexts.documents import look
from tallystick.contexts.views.board import BoardView
from tallystick.contexts.views.claims import Claims
from tallystick.contexts.views.counter import CounterView
from tallystick.contexts.views.held import Document, Held
from tallystick.contexts.views.list import ListView
from tallystick.contexts.views.map import MapView
from tallystick.contexts.views.register import RegisterView
from tallystick.contexts.views.roots import (
    TYPES,
    RootType,
    found_type,
    has_characters,
    known_roots,
    read_items,
    read_list,
    reserved_root,
)
from tallystick.contexts.views.set import SetView
from tallystick.contexts.views.shapes import RESERVED, kinds_of, shape
from tallystick.contexts.views.text import TextView
from tallystick.errors import Unavailable

KEPT_VIEWS: Final = 1000
"""Views that are kept; a document has no more roots."""

AnyView = BoardView | CounterView | ListView | MapView | RegisterView | SetView | TextView
ViewT = TypeVar("ViewT", BoardView, CounterView, ListView, MapView, RegisterView, SetView, TextView)


def no_claims(root: str) -> Claims:
    """For a document that no cluster holds."""
    raise Unavailable(f"nobody decides who claims the tasks of {root!r}: the document is held by no cluster")


class Views:
    """The views of a context. Each method raises `Invalid`: `INVALID_NAME`, or `TYPE_CLASH` if the root is of another
    kind.

    Args:
        claims_of: the claims of the board of this name, with a holder of its own. Raises `Unavailable` if it is not
            known yet which document the context is.
    """

    def __init__(self, held: Held, claims_of: Callable[[str], Claims] = no_claims) -> None:
        self._held = held
        self._claims_of = claims_of
        self._kept: dict[tuple[type[AnyView], str], AnyView] = {}

    def map(self, name: str) -> MapView:
        """A map: the last writer wins, key by key."""
        return self._view(MapView, name, lambda: MapView(self._held, name))

    def list(self, name: str) -> ListView:
        """A list."""
        return self._view(ListView, name, lambda: ListView(self._held, name))

    def text(self, name: str) -> TextView:
        """A text."""
        return self._view(TextView, name, lambda: TextView(self._held, name))

    def counter(self, name: str) -> CounterView:
        """A counter: additions are summed."""
        return self._view(CounterView, name, lambda: CounterView(self._held, name))

    def set(self, name: str) -> SetView:
        """A set in which adding wins over removing."""
        return self._view(SetView, name, lambda: SetView(self._held, name))

    def register(self, name: str) -> RegisterView:
        """A register that keeps all concurrent values."""
        return self._view(RegisterView, name, lambda: RegisterView(self._held, name))

    def board(self, name: str) -> BoardView:
        """A board of tasks, with exclusive claims."""
        return self._view(BoardView, name, lambda: BoardView(self._held, name, self._claims_of))

    def to_json(self) -> dict[str, JSON]:
        """The document as JSON, each root as its kind is shown; see `tallystick.contexts.views.shapes`."""
        doc = self._held.doc
        kinds = kinds_of(read_items(reserved_root(doc)))
        shown: dict[str, JSON] = {}
        roots = known_roots(doc)
        for name in sorted(name for name in roots if not name.startswith(RESERVED)):
            kind = kinds.get(name)
            found = found_type(doc, name, roots) if kind is None else TYPES[kind]
            if found is not None:  # a root that was only asked for is on this replica alone
                shown[name] = cast("JSON", shape(kind, _read(doc, name, found)))
        return shown

    def _view(self, kind: type[ViewT], name: str, make: Callable[[], ViewT]) -> ViewT:
        kept = self._kept.get((kind, name))
        if isinstance(kept, kind):
            kept.check()
            return kept
        view = make()
        if len(self._kept) >= KEPT_VIEWS:
            self._kept.clear()
        self._kept[kind, name] = view
        return view


def _read(doc: Document, name: str, found: RootType) -> object:
    if found is pycrdt.Text:
        return str(look(doc, name, pycrdt.Text()))
    if found is pycrdt.Array:
        root = look(doc, name, pycrdt.Array())
        if has_characters(doc, name):  # two replicas that had not met used one name for a list and a text
            return str(look(doc, name, pycrdt.Text()))
        return read_list(root)
    return read_items(look(doc, name, pycrdt.Map()))
