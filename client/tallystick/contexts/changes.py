"""What changed in a context, as its user sees it: at which path, from what to what, by whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from tallystick._json import JSON
from tallystick._pointer import pointer


class ChangeKind(StrEnum):
    """What happened at a path."""

    SET = "set"  # of a map: the key has this value now
    DELETE = "delete"  # of a map: the key is gone
    INSERT = "insert"  # of a list or a text: these elements, or characters, stand at the index now
    REMOVE = "remove"  # of a list or a text: so many from the index on are gone


@dataclass(frozen=True, slots=True)
class Author:
    """Who made a change.

    Attributes:
        actor: "": not known, or somebody of another protocol.
        cause: what led to it.
        time_unix_ms: when it was made, by the clock of who made it; 0: not known.
        node_id: the node that took it.
        is_local: this replica.
    """

    actor: str = ""
    cause: str = ""
    time_unix_ms: int = 0
    node_id: str = ""
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the content.

    Attributes:
        path: JSON Pointer; the first part is the root. Of a list or a text, the last is the index, in elements or
            in characters of Python.
        old: what was there, where it is known: of a map's key.
        new: what is there now: the value; of INSERT a list of elements, or a text.
        count: of INSERT and REMOVE: how many elements, or characters (of a text that lost some: bytes in UTF-8).
        author: who; with several at once, as after a time offline, whoever is not known stands as "".
    """

    path: str
    kind: ChangeKind
    old: JSON = None
    new: JSON = None
    count: int = 1
    author: Author = Author()

    def by(self, author: Author) -> Change:
        """The same, by this author."""
        return replace(self, author=author)


@dataclass(frozen=True, slots=True)
class Lagged:
    """In place of changes that were dropped because they were not taken in time: look at the content anew.

    Attributes:
        missed: how many.
    """

    missed: int


def differences(old: JSON, new: JSON, path: str = "") -> Iterator[Change]:
    """How one JSON value becomes another: key by key in objects, anything else as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            here = path + pointer(key)
            if key not in new:
                yield Change(here, ChangeKind.DELETE, old=old[key])
            elif key not in old:
                yield Change(here, ChangeKind.SET, new=new[key])
            else:
                yield from differences(old[key], new[key], here)
    elif old != new or type(old) is not type(new):
        yield Change(path, ChangeKind.SET, old=old, new=new)


def plain(value: object) -> JSON:
    """A value of pycrdt as JSON: whole numbers as int, for pycrdt gives all as float; bytes as their hex digits."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, str | int | bool) or value is None:
        return value
    to_py = getattr(value, "to_py", None)
    return plain(to_py()) if callable(to_py) else str(value)
