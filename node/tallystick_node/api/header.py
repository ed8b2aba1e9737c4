"""The header of every answer, and what a request says about how it is to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.v1 import common_pb2
from tallystick_node.access import Consistency, ReadFrom
from tallystick_node.api import messages
from tallystick_node.api.calls import Context, timeout_s

_CONSISTENCIES: Final = {
    common_pb2.CONSISTENCY_SESSION: Consistency.SESSION,
    common_pb2.CONSISTENCY_LOCAL: Consistency.LOCAL,
}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What a node says of itself with every answer."""

    position: int
    leader_endpoint: str
    age_ms: int


class Headers:
    """Makes the headers of one node's answers."""

    def __init__(self, node_id: str, whereabouts: Callable[[], Whereabouts]) -> None:
        self._node_id = node_id
        self._whereabouts = whereabouts

    def make(self) -> common_pb2.ResponseHeader:
        """The header of an answer given now."""
        now = self._whereabouts()
        return common_pb2.ResponseHeader(
            revision=messages.revision(now.position),
            node_id=self._node_id,
            leader_endpoint=now.leader_endpoint,
            age_ms=now.age_ms,
        )


def read_from(options: common_pb2.ReadOptions, context: Context) -> ReadFrom:
    """How a request wants to be read."""
    consistency = _CONSISTENCIES.get(options.consistency, Consistency.LINEARIZABLE)
    return ReadFrom(consistency, messages.position_in(options.session), timeout_s(context))
