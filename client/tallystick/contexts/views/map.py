"""A map: the last writer wins, key by key.

Rules of this file:
- A value is one thing: setting a key replaces it whole. Nested dicts are values too, never maps of their own, for two
  replicas that create such a map under one key at once would lose one side whole. What is to merge field by field has a
  key for each field: `plan["task1/status"]`, read together by `below("task1")`.
- Of two sets of one key that did not know of each other, the writer id decides, not the time: after the merge all have
  the same one. To keep both, use a register.
- So nothing here reads, changes and writes back: a sum is for a counter, a collection for a set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from tallystick.contexts.views.roots import ABSENT, MapRoot, View, peek, read_items
from tallystick.contexts.views.shapes import Kind
from tallystick.contexts.views.values import Value, ValueLike, check_key, child, normalise, read_value


class MapView(View[MapRoot], MutableMapping[str, Value]):
    """A root that is a map, used like a dict. Keys come sorted.

    Example:
        tasks = context.map("tasks")
        tasks["t1/status"] = "open"
        tasks.below("t1")                    # {"status": "open"}

    Raises:
        Invalid: `INVALID_VALUE`, `TOO_DEEP` or `TOO_LARGE`: what cannot be shared; `TYPE_CLASH`: the root is of
            another kind.
    """

    kind = Kind.MAP

    def __getitem__(self, key: str) -> Value:
        root = self._root()
        if not isinstance(key, str):
            raise KeyError(key)
        value = peek(root, key)
        if value is ABSENT:
            raise KeyError(key)
        return read_value(value)

    def __setitem__(self, key: str, value: ValueLike) -> None:
        self.set_many({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        with self._edit() as root:
            del root[key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._root()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._root().keys()))

    def __len__(self) -> int:
        return len(self._root())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.to_dict()!r:.200})"

    def to_dict(self) -> dict[str, Value]:
        """All of it, as it is now."""
        return read_items(self._root())

    def below(self, path: str) -> dict[str, Value]:
        """What lies under keys that begin with this path and a `/`, by the rest of the key."""
        begin = f"{path}/"
        root = self._root()
        return {key.removeprefix(begin): read_value(root[key]) for key in sorted(root.keys()) if key.startswith(begin)}

    def update(  # type: ignore[override]  # typeshed has one overload for each form of dict(...)
        self, *others: Mapping[str, ValueLike] | Iterable[tuple[str, ValueLike]], **items: ValueLike
    ) -> None:
        """As of a dict, in one edit, all or none of it."""
        self.set_many(dict(*others, **items))

    def set_many(self, items: Mapping[str, ValueLike]) -> None:
        """Sets these keys in one edit, all or none of them."""
        plain: dict[str, Value] = {}
        for key, value in items.items():
            path = child(self._path, str(key))
            plain[check_key(key, path)] = normalise(value, path)
        if not plain:
            return
        with self._edit() as root:
            for key, value in plain.items():
                root[key] = value

    def clear(self) -> None:
        """Removes the keys that are there now, in one edit; one that is set elsewhere meanwhile stays."""
        keys = list(self)
        if not keys:
            return
        with self._edit() as root:
            for key in keys:
                del root[key]
