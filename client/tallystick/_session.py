"""What this client wrote and saw: the highest position of each group.

Goes with every session read; a node answers once it has come that far.
"""

from __future__ import annotations

from typing import Final

from tallystick._convert import revision_message
from tallystick._values import Consistency, Revision
from tallystick.v1 import common_pb2

MAX_GROUPS: Final = 1024
"""Groups remembered; a cluster has a handful. Beyond it the one not touched for longest is forgotten."""

_LINEARIZABLE: Final = common_pb2.ReadOptions(consistency=common_pb2.CONSISTENCY_LINEARIZABLE)
_LOCAL: Final = common_pb2.ReadOptions(consistency=common_pb2.CONSISTENCY_LOCAL)


class Session:
    """Positions by group; they only rise."""

    def __init__(self) -> None:
        self._positions: dict[int, int] = {}
        self._options: common_pb2.ReadOptions | None = None

    def saw(self, revision: common_pb2.Revision | Revision) -> None:
        """Keeps the revision if it is the highest of its group."""
        group, position = revision.group, revision.position
        if position <= self._positions.get(group, 0):
            return
        self._positions.pop(group, None)  # to the end: the order is that of the last rise
        self._positions[group] = position
        if len(self._positions) > MAX_GROUPS:
            del self._positions[next(iter(self._positions))]
        self._options = None

    def revisions(self) -> tuple[Revision, ...]:
        """The highest revision of each group."""
        return tuple(Revision(group, position) for group, position in sorted(self._positions.items()))

    def read_options(self, consistency: Consistency) -> common_pb2.ReadOptions:
        """What goes with a read of this consistency. Shared: the caller must not change it."""
        if consistency is Consistency.LINEARIZABLE:
            return _LINEARIZABLE
        if consistency is Consistency.LOCAL:
            return _LOCAL
        if self._options is None:
            self._options = common_pb2.ReadOptions(
                consistency=common_pb2.CONSISTENCY_SESSION, session=map(revision_message, self.revisions())
            )
        return self._options
