"""A cursor: what a replica of a context holds, to keep and to hand on."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Self

import orjson

from tallystick.errors import Invalid, Reason
from tallystick.v1 import context_pb2

_BYTES = ("guid", "state_vector", "deletes_digest", "log")


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a replica of a document holds: an opaque token. "At least this" can be asked of any node.

    Attributes:
        guid: names the document for ever; 16 bytes.
        epoch: 1, 2, ...
        state_vector: as Yjs encodes it.
        deletes_digest: equal: the same deletions; empty: not known.
        node_id: the node whose number follows, or "".
        number: of that node's update log of the document.
        log: names that log.
    """

    guid: bytes
    epoch: int
    state_vector: bytes
    deletes_digest: bytes = b""
    node_id: str = ""
    number: int = 0
    log: bytes = b""

    def to_json(self) -> str:
        """The cursor as JSON text, for a message to another agent or a checkpoint's metadata."""
        fields: dict[str, str | int] = {name: base64.b64encode(getattr(self, name)).decode() for name in _BYTES}
        fields |= {"epoch": self.epoch, "node_id": self.node_id, "number": self.number}
        return orjson.dumps(fields).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The cursor of a JSON text that `to_json` wrote.

        Raises:
            Invalid: it is none.
        """
        try:
            fields = orjson.loads(text)
            raw = {
                name: base64.b64decode(fields.get(name, "") if name == "log" else fields[name], validate=True)
                for name in _BYTES
            }
            epoch, node_id, number = fields["epoch"], fields["node_id"], fields["number"]
        except (orjson.JSONDecodeError, KeyError, TypeError, binascii.Error) as error:
            raise Invalid(f"not a cursor: {error}", reason=Reason.INVALID_JSON) from error
        if not (isinstance(epoch, int) and isinstance(node_id, str) and isinstance(number, int)):
            raise Invalid("not a cursor: a field has another type", reason=Reason.INVALID_JSON)
        return cls(raw["guid"], epoch, raw["state_vector"], raw["deletes_digest"], node_id, number, raw["log"])

    @classmethod
    def of(cls, message: context_pb2.Cursor) -> Self:
        """The cursor of a message."""
        return cls(
            message.guid,
            message.epoch,
            message.state_vector,
            message.deletes_digest,
            message.node_id,
            message.number,
            message.log,
        )

    def message(self) -> context_pb2.Cursor:
        """The cursor as it is sent."""
        return context_pb2.Cursor(
            guid=self.guid,
            epoch=self.epoch,
            state_vector=self.state_vector,
            deletes_digest=self.deletes_digest,
            node_id=self.node_id,
            number=self.number,
            log=self.log,
        )
