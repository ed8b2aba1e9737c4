"""What a step returned, where it is large: a payload, and in the log its name.

Rules of this file:
- Up to `INLINE_BYTES` a result stands in the log as it is. A larger one is put as a payload before the step is
  completed, and `{"$result": <its name>, "names": [...]}` stands for it.
- Payloads that a large result names are named beside it: nodes look into the log, not into payloads.
- A result that looks like a stand-in is put likewise: so what looks like one is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._payload_ref import PAYLOAD, PayloadRef
from tallystick.errors import Invalid, Reason
from tallystick.payloads.payloads import Payloads

INLINE_BYTES: Final = 256 * 1024
"""A larger result goes by reference."""
RESULT_BYTES: Final = 64 * 1024 * 1024
"""The largest result, as JSON text."""

_RESULT: Final = "$result"
_NAMES: Final = "names"
_BEGIN: Final = b'{"' + _RESULT.encode() + b'"'


def stand_in(value: JSON) -> PayloadRef | None:
    """The payload that this stands for; None: it is a result."""
    if isinstance(value, dict) and value.keys() == {_RESULT, _NAMES}:
        return PayloadRef.of(value[_RESULT])
    return None


def may_stand_in(text: bytes) -> bool:
    """Whether it must be looked at more closely: nearly no result begins so."""
    return text.startswith(_BEGIN)


class Results:
    """Keeps and fetches the results of steps."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads

    async def keep(self, result: JSONLike, timeout_s: float | None) -> bytes:
        """What stands for a result in the log, as JSON text.

        Raises:
            Invalid: it is not JSON, or too large.
        """
        text = encode(result)
        if len(text) <= INLINE_BYTES and not may_stand_in(text):
            return text
        if len(text) > RESULT_BYTES:
            raise Invalid(
                f"a result of {len(text)} bytes, and {RESULT_BYTES} is the limit",
                reason=Reason.TOO_LARGE,
                metadata={"limit": str(RESULT_BYTES)},
            )
        ref = await self._payloads.put(text, timeout_s=timeout_s)
        return encode({_RESULT: ref, _NAMES: list(_named(decode(text)))})

    async def whole(self, text: bytes, timeout_s: float | None) -> bytes:
        """The result, as JSON text, for what stands in the log.

        Raises:
            NotFound: its payload is gone.
        """
        ref = stand_in(decode(text)) if may_stand_in(text) else None
        return text if ref is None else await self._payloads.get(ref, timeout_s=timeout_s)


def _named(value: JSON) -> Iterator[PayloadRef]:
    """The payloads that a value names, each once."""
    found: dict[str, PayloadRef] = {}
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if PAYLOAD in each and (ref := _name(each)) is not None:
                found[ref.id] = ref
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
    return iter(found.values())


def _name(value: dict[str, JSON]) -> PayloadRef | None:
    try:
        return PayloadRef.of(value)
    except Invalid:
        return None
