"""Which document: as a value that can be a key, and as the wire has it."""

from __future__ import annotations

from typing import NamedTuple, Self

from tallystick.peer.v1 import peer_pb2


class ContextId(NamedTuple):
    """A document in one of its epochs."""

    guid: bytes
    epoch: int

    @classmethod
    def of(cls, message: peer_pb2.ContextId) -> Self:
        """From the wire."""
        return cls(message.guid, message.epoch)

    def to_proto(self) -> peer_pb2.ContextId:
        """For the wire."""
        return peer_pb2.ContextId(guid=self.guid, epoch=self.epoch)
