"""How a value names a payload: the JSON object `{"$payload": "<id in hex>", "size_bytes": n}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Invalid

PAYLOAD: Final = "$payload"
"""The member that makes an object the name of a payload: nodes keep what is named so."""

_SIZE: Final = "size_bytes"
_ID: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, eq=False)
class PayloadRef(Mapping[str, "str | int"]):
    """The name of a payload. It may stand wherever JSON is taken: in operations, events, results and metadata.

    It is equal to the object that stands there.

    Example:
        await agent.append(ops.set("/report", await client.payloads.put(pdf)))
        report = PayloadRef.of((await agent.read()).state["report"])

    Attributes:
        id: 64 hex digits, the SHA-256 of what it is made of.

    Raises:
        Invalid: the id is none, or the size is below 0.
    """

    id: str
    size_bytes: int

    def __post_init__(self) -> None:
        if _ID.fullmatch(self.id) is None:
            raise Invalid(f"not the id of a payload (64 hex digits): {self.id!r}", metadata={"field": "id"})
        if self.size_bytes < 0:
            raise Invalid("a size is not below 0", metadata={"field": _SIZE})

    @classmethod
    def of(cls, value: object) -> PayloadRef:
        """The name that a JSON value is, for example one in a state. A `PayloadRef` is itself.

        Raises:
            Invalid: it names no payload.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            name, size_bytes = value.get(PAYLOAD), value.get(_SIZE)
            if isinstance(name, str) and type(size_bytes) is int:
                return cls(name, size_bytes)
        raise Invalid(f'no name of a payload ({{"{PAYLOAD}": ..., "{_SIZE}": ...}}): {value!r:.100}')

    def to_json(self) -> dict[str, str | int]:
        """What stands in a value."""
        return {PAYLOAD: self.id, _SIZE: self.size_bytes}

    def __getitem__(self, key: str) -> str | int:
        return self.to_json()[key]

    def __iter__(self) -> Iterator[str]:
        return iter((PAYLOAD, _SIZE))

    def __len__(self) -> int:
        return 2

    def __hash__(self) -> int:
        return hash(self.id)
