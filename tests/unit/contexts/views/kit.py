"""Replicas in memory that hand each other updates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pycrdt

from tallystick._json import JSON
from tallystick.contexts.views import Views
from tallystick.contexts.views.claims import Claims
from tallystick.contexts.views.held import Document
from tests.unit.contexts.views.claims_kit import Log, Program

FIRST_WRITER = 2**32


class Peer:
    """A context for views, without a network. Counts its transactions that changed something."""

    def __init__(self, number: int = 0, *, schema: JSON = None) -> None:
        self.writer = FIRST_WRITER + number
        self.actor = f"agent-{number}"
        self.schema = schema
        self.doc: Document = pycrdt.Doc(client_id=self.writer)
        self.updates: list[bytes] = []
        self.now_ms = 1_700_000_000_000
        self._subscription = self.doc.observe(self._seen)
        self.views = Views(self, self._claims_of)

    @contextmanager
    def transaction(self, cause: str = "") -> Iterator[None]:
        del cause
        with self.doc.transaction():
            yield

    def _claims_of(self, root: str) -> Claims:
        return Program(Log(), f"{self.actor}-{root}").claims

    def unix_ms(self) -> int:
        return self.now_ms

    def take_from(self, other: Peer) -> None:
        """Merges what the other has and this one lacks."""
        self.doc.apply_update(other.doc.get_update(self.doc.get_state()))

    def become_another(self) -> None:
        """The same content in another document, under another writer: as after a new epoch."""
        content = self.doc.get_update()
        self.doc.unobserve(self._subscription)
        self.writer += 1_000_000
        self.doc = pycrdt.Doc(client_id=self.writer)
        self.doc.apply_update(content)
        self._subscription = self.doc.observe(self._seen)

    def close(self) -> None:
        self.doc.unobserve(self._subscription)

    def _seen(self, event: pycrdt.TransactionEvent) -> None:
        self.updates.append(event.update)


def exchange(*peers: Peer) -> None:
    """All of them hear of everything."""
    for _ in range(2):
        for peer in peers:
            for other in peers:
                if other is not peer:
                    peer.take_from(other)


def pair() -> tuple[Peer, Peer]:
    return Peer(0), Peer(1)
