"""What pycrdt tells of one shared type at the end of a transaction, read while it may be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import pycrdt
from pycrdt._base import BaseEvent

from tallystick.contexts.documents import SharedType


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key of a map. `new` says nothing if it is not `is_set`; old values are not known of what was not there."""

    is_set: bool
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """A map. `path` leads to it from its root."""

    path: tuple[str | int, ...]
    keys: Mapping[str, KeyChange]


@dataclass(frozen=True, slots=True)
class Spliced:
    """A list or a text: steps of "retain", "delete" or "insert", counted in elements, or in bytes of UTF-8.

    Attributes:
        text: as it is now; None: it is a list.
    """

    path: tuple[str | int, ...]
    delta: Sequence[Mapping[str, object]]
    text: bytes | None


Told: TypeAlias = "KeysChanged | Spliced"


def listen(root: SharedType, told: Callable[[Told], None]) -> Callable[[], None]:
    """Tells of each change of the root and of what is in it; what is returned ends that."""

    def hear(events: Iterable[object]) -> None:
        for event in events:
            read = _read(event)
            if read is not None:
                told(read)

    subscription = root.observe_deep(cast("Callable[[list[BaseEvent]], None]", hear))
    return lambda: root.unobserve(subscription)


def _read(event: object) -> Told | None:
    path = tuple(getattr(event, "path", ()))
    if isinstance(event, pycrdt.MapEvent):
        keys: Mapping[str, Mapping[str, object]] = getattr(event, "keys", {})
        return KeysChanged(
            path,
            {
                key: KeyChange(entry["action"] != "delete", entry.get("oldValue"), entry.get("newValue"))
                for key, entry in keys.items()
            },
        )
    if isinstance(event, pycrdt.ArrayEvent | pycrdt.TextEvent):
        is_text = isinstance(event, pycrdt.TextEvent)
        text = str(getattr(event, "target", "")).encode() if is_text else None
        return Spliced(path, list(getattr(event, "delta", ())), text)
    return None
