"""How a replica stands with the cluster: what is known from one stream to the next."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.contexts.cursor import Cursor
from tallystick.contexts.exchange import Exchange
from tallystick.errors import TallystickError
from tallystick.v1 import context_pb2


@dataclass(slots=True)
class Standing:
    """See the module.

    Attributes:
        after: what the node must have before it answers; None: nothing more.
        cursor: what the replica holds, as far as a node has said.
        exchange: the document is to be fetched whole.
        failure: why no node is there.
        failures: how often in a row none was.
        is_online: a node is there, and the replica had all it has.
        has_caught_up: it had once.
        is_draining: edits of an epoch that is over are still sent, and nothing is taken.
    """

    after: Cursor | None
    cursor: Cursor | None = None
    exchange: Exchange | None = None
    failure: TallystickError | None = None
    failures: int = 0
    is_online: bool = False
    has_caught_up: bool = False
    is_draining: bool = False

    def caught_up(self, cursor: context_pb2.Cursor) -> None:
        """The replica has all that a node has."""
        self.failures = 0
        self.is_online = self.has_caught_up = True
        self.after = self.failure = None
        self.saw(cursor)

    def saw(self, cursor: context_pb2.Cursor) -> None:
        """A node says what the replica holds."""
        if cursor.guid:
            self.cursor = Cursor.of(cursor)
