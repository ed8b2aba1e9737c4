"""Roots: each has one kind, and every view checks it.

pycrdt gives an empty view, without an error, when a root is asked for as another type than it has; what is written
through that view is then invisible to all who use the right one.

Rules of this file:
- The first edit of a root records its kind in the root `tallystick`, in the same transaction; from then on, wherever
  that edit has come, another kind is refused as `TYPE_CLASH`. So is a kind that differs from the context's schema, and
  one that does not fit what is there already (a root that another program made).
- Two replicas that never heard of each other may record two kinds: after they merged, one of the two counts for all,
  who uses the other is told with the next step, and what was written through it is not shown.
- Names that begin with `tallystick` are ours.
- pycrdt settles the type of a root with the first look at it, so nobody looks before it is known which type is right.
- What holds characters is never read as a list, whatever it was declared as: see `documents`.
- A view keeps nothing of the replica but what `_root` looks up again once the replica is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final, Generic, TypeAlias, cast

import orjson
import pycrdt

from tallystick.contexts import documents
from tallystick.contexts.documents import RootT, SharedType, holds_characters, look
from tallystick.contexts.views.held import Document, Held
from tallystick.contexts.views.shapes import RESERVED, Kind, kinds_of, root_key
from tallystick.contexts.views.values import SAFE_INT, Value, read_value
from tallystick.errors import Invalid, Reason

_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytearray, list, dict})
"""What pycrdt gives for values; the rest is shared types."""

ABSENT: Final = object()
"""What `peek` finds where nothing is."""

ROOT_NAME_CHARS: Final = 128
"""The name of a root."""

MapRoot = pycrdt.Map[object]
ListRoot = pycrdt.Array[object]
TextRoot = pycrdt.Text

RootType: TypeAlias = "type[MapRoot] | type[ListRoot] | type[TextRoot]"

TYPES: Final[Mapping[Kind, RootType]] = {
    Kind.MAP: pycrdt.Map,
    Kind.LIST: pycrdt.Array,
    Kind.TEXT: pycrdt.Text,
    Kind.COUNTER: pycrdt.Map,
    Kind.SET: pycrdt.Map,
    Kind.REGISTER: pycrdt.Map,
    Kind.BOARD: pycrdt.Map,
}
"""What each kind is in the document."""


def check_root_name(name: str) -> None:
    """Raises `Invalid` (`INVALID_NAME`) unless it may name a root."""
    problem = ""
    if not isinstance(name, str) or not 1 <= len(name) <= ROOT_NAME_CHARS:
        problem = f"1 to {ROOT_NAME_CHARS} characters"
    elif name.startswith(RESERVED):
        problem = f"names that begin with {RESERVED!r} are reserved"
    elif any("\ud800" <= character <= "\udfff" for character in name):
        problem = "a lone surrogate is no text"
    if problem:
        raise Invalid(f"the name of a root, {name!r:.80}: {problem}", reason=Reason.INVALID_NAME)


def reserved_root(doc: Document) -> MapRoot:
    """The root in which kinds are recorded."""
    return cast("MapRoot", doc.get(RESERVED, type=pycrdt.Map))


def peek(root: MapRoot, key: str) -> object:
    """What is under the key, or `ABSENT`."""
    with root.doc.transaction() as transaction:
        inner = transaction._txn  # noqa: SLF001 - `root.get` would begin four transactions
        if not root.integrated.has(inner, key):
            return ABSENT
        value: object = root.integrated.get(inner, key)
    return value if type(value) in _PLAIN else root[key]


def _reserved(doc: Document) -> MapRoot:
    """The root that records kinds. It is asked for with every step, so what the replica has at hand is taken."""
    known = doc.typed.get(RESERVED) if isinstance(doc, documents.Document) else None
    return known if isinstance(known, pycrdt.Map) else cast("MapRoot", doc.get(RESERVED, type=pycrdt.Map))


def schema_kind(schema: object, name: str) -> str | None:
    """The kind that a schema names for this root.

    Raises:
        Invalid: `TYPE_CLASH`: the schema is strict and names no such root.
    """
    if not isinstance(schema, Mapping):
        return None
    roots = schema.get("roots")
    root = roots.get(name) if isinstance(roots, Mapping) else None
    if isinstance(root, Mapping):
        kind = root.get("type")
        return kind if isinstance(kind, str) else None
    if root is None and schema.get("strict") is True:
        raise Invalid(
            f"the schema of this context is strict and names no root {name!r}",
            reason=Reason.TYPE_CLASH,
            metadata={"root": name},
        )
    return None


def settle_roots(doc: Document) -> None:
    """Gives each root that has a recorded kind its type, so that it can be observed."""
    roots = known_roots(doc)
    for name, kind in kinds_of(read_items(reserved_root(doc))).items():
        if roots.get(name) is None:
            doc.get(name, type=TYPES[kind])


def settle_all_roots(doc: Document) -> None:
    """The same, and of roots that nobody declared by what lies in them."""
    settle_roots(doc)
    roots = known_roots(doc)
    for name in [name for name, root in roots.items() if root is None]:
        found = found_type(doc, name, roots)
        if found is not None:
            doc.get(name, type=found)


def known_roots(doc: Document) -> dict[str, SharedType | None]:
    """The roots that the replica knows of; None: of a type that nobody asked for yet."""
    return dict(doc.items())


def found_type(doc: Document, name: str, roots: Mapping[str, SharedType | None]) -> RootType | None:
    """Which type fits what lies in a root that nobody declared; None: nothing lies there.

    A root of which no type is known yet is looked at in a copy: the first look settles its type in the replica, and
    with a wrong one pycrdt panics as soon as somebody observes the right one.
    """
    if name not in roots:
        return None
    if roots[name] is None:
        copy: Document = pycrdt.Doc()
        copy.apply_update(doc.get_update())
        doc = copy
    if len(look(doc, name, pycrdt.Map())):
        return pycrdt.Map
    if not len(look(doc, name, pycrdt.Array())):
        return None
    runs = look(doc, name, pycrdt.Text()).diff()
    return pycrdt.Text if any(isinstance(run, str) for run, _ in runs) else pycrdt.Array


def has_characters(doc: Document, name: str) -> bool:
    """Whether the root must not be read as a list; see `documents`."""
    return doc.holds_characters(name) if isinstance(doc, documents.Document) else holds_characters(doc, name)


class View(Generic[RootT]):
    """One root of a context, as one kind. Made by the context; it may be kept, and follows the replica."""

    kind: ClassVar[Kind]

    def __init__(self, held: Held, name: str) -> None:
        check_root_name(name)
        self._held = held
        self._name = name
        self._path = f"/{name}"
        self._type = TYPES[self.kind]
        self._key = root_key(name)
        self._doc = held.doc
        self._reserved = reserved_root(self._doc)
        self._bound: RootT | None = None
        self._is_declared = False
        self._check_schema()
        self._root()

    @property
    def name(self) -> str:
        """The name of the root."""
        return self._name

    def check(self) -> None:
        """Raises `Invalid` (`TYPE_CLASH`) if the root turned out to be of another kind."""
        self._root()

    def _root(self) -> RootT:
        """The root, of the replica as it is now; where nothing is yet, an empty one that is nowhere.

        Raises:
            Invalid: `TYPE_CLASH`.
        """
        doc = self._held.doc
        if doc is not self._doc:
            self._doc, self._reserved, self._bound = doc, reserved_root(doc), None
        declared = self._declared()
        if declared is not None and declared != self.kind:
            self._clash(declared)
        self._is_declared = declared is not None
        if self._bound is None:
            if not self._is_there(doc):
                return look(pycrdt.Doc(), self._name, cast("RootT", self._type()))
            self._bound = cast("RootT", doc.get(self._name, type=self._type))
        if self._type is pycrdt.Array and has_characters(doc, self._name):
            self._clash(Kind.TEXT)
        return self._bound

    @contextmanager
    def _edit(self, root: RootT | None = None) -> Iterator[RootT]:
        """One edit of the root. What can be refused is refused before: a transaction that raises is not rolled back.

        Args:
            root: what `_root` has just said, if it was asked.
        """
        root = self._root() if root is None else root
        with self._held.transaction():
            if self._held.doc is not self._doc:
                root = self._root()
            if not self._is_declared:
                self._reserved[self._key] = str(self.kind)
                root = self._root()
            yield root

    def _declared(self) -> str | None:
        kind = peek(self._reserved, self._key)
        return kind if isinstance(kind, str) else None

    def _is_there(self, doc: Document) -> bool:
        """Whether there is a root to bind to. Looking at nothing settles nothing: the root may yet be of any kind."""
        roots = known_roots(doc)
        settled = roots.get(self._name)
        if settled is not None and not isinstance(settled, self._type):
            self._clash(type(settled).__name__.lower())
        if self._is_declared:
            return True
        found = found_type(doc, self._name, roots)
        if found is not None and found is not self._type:
            self._clash(found.__name__.lower())
        return found is not None

    def _check_schema(self) -> None:
        kind = schema_kind(self._held.schema, self._name)
        if kind is not None and kind != self.kind:
            self._clash(kind)

    def _clash(self, kind: str) -> None:
        raise Invalid(
            f"the root {self._name!r} is a {kind}, not a {self.kind}",
            reason=Reason.TYPE_CLASH,
            metadata={"root": self._name, "type": kind},
        )


def read_items(root: MapRoot) -> dict[str, Value]:
    """All of a map, by key in order: pycrdt's own order differs from replica to replica."""
    items = orjson.loads(str(root))
    return {key: read_value(root.get(key) if _may_bend(items[key]) else items[key]) for key in sorted(items)}


def read_list(root: ListRoot) -> list[Value]:
    """All of a list. One by one, pycrdt would begin at the front for each."""
    values = orjson.loads(str(root))
    return [read_value(root[index] if _may_bend(value) else value) for index, value in enumerate(values)]


def _may_bend(value: object) -> bool:
    """Whether pycrdt's JSON may mean something else by it: bytes are lists of numbers there, large floats ints."""
    if isinstance(value, list):
        return all(isinstance(item, int) and 0 <= item <= 255 for item in value) or any(map(_may_bend, value))
    if isinstance(value, dict):
        return any(map(_may_bend, value.values()))
    return isinstance(value, int) and abs(value) > SAFE_INT
