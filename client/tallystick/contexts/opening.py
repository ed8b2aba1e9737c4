"""Puts a context together from what its user asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tallystick._calls import Calls
from tallystick._contexts import Contexts
from tallystick._json import JSONLike, decode, encode
from tallystick.contexts.context import Context
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.link import Origin
from tallystick.contexts.local_store import LocalStore
from tallystick.contexts.seeding import seed_of
from tallystick.contexts.store import MemoryStore, Store
from tallystick.contexts.writers import Writers
from tallystick.v1 import context_pb2


@dataclass(frozen=True, slots=True)
class Opener:
    """What all contexts of one client share."""

    calls: Calls
    contexts: Contexts
    writers: Writers
    namespace: str
    actor: str
    data_folder: Path | None

    def context(
        self,
        name: str,
        *,
        create: bool,
        schema: Mapping[str, JSONLike] | None,
        seed: Mapping[str, JSONLike] | bytes | None,
        store: str | Path | None,
        after: Cursor | None,
        timeout_s: float | None,
    ) -> Context:
        """A context, not open yet; see `Client.context`."""
        origin = Origin(
            ref=context_pb2.ContextRef(namespace=self.namespace, name=name),
            actor=self.actor,
            create=create,
            schema=schema,
            seed=seed_of(seed, None if schema is None else decode(encode(schema))),
            after=after,
        )
        limit_s = self.calls.timeout_s if timeout_s is None else timeout_s
        return Context(self.calls, self.contexts, self.writers, origin, self._store(name, store), timeout_s=limit_s)

    def _store(self, name: str, path: str | Path | None) -> Store:
        if path is None and self.data_folder is not None:
            path = self.data_folder / "contexts" / quote(self.namespace, safe="") / f"{quote(name, safe='')}.db"
        if path is None:
            return MemoryStore()
        return LocalStore(Path(path), owner=f"{self.namespace}/{name}/{self.actor}")
