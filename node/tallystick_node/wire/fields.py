"""Checks of single fields that a client handed in: names, lengths, JSON of checkpoints."""

from __future__ import annotations

import re
from typing import Final

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import Idempotency, Target
from tallystick_node.core.values import parse_json

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/@-]{{0,{limits.NAME_CHARS - 1}}}")


def check_name(field: str, name: str) -> None:
    """Raises `Invalid` (`INVALID_NAME`) unless it begins with a letter or digit and goes on with those and `._:/@-`."""
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"{field} {name[:50]!r}: 1 to {limits.NAME_CHARS} of A-Z a-z 0-9 . _ : / @ -, a letter or digit first",
            reason=Reason.INVALID_NAME,
            metadata={"field": field, "limit": str(limits.NAME_CHARS)},
        )


def check_bytes(field: str, value: bytes, limit: int) -> None:
    """Raises `Invalid` (`TOO_LARGE`) if there is more than `limit`."""
    if len(value) > limit:
        raise Invalid(
            f"{field} has {len(value)} bytes, the limit is {limit}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limit), "unit": "bytes"},
        )


def check_number(field: str, value: int, limit: int) -> None:
    """Raises `Invalid` (`TOO_LARGE`) if it is greater than `limit`."""
    if value > limit:
        raise Invalid(
            f"{field} is {value}, the limit is {limit}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limit)},
        )


def check_target(target: Target) -> None:
    """Raises `Invalid` (`INVALID_NAME`) unless namespace, agent and branch are names."""
    check_name("namespace", target.namespace)
    check_name("agent", target.agent)
    check_name("branch", target.branch)


def check_idempotency(idempotency: Idempotency | None) -> None:
    """Raises `Invalid` (`TOO_LARGE`, or `INVALID_REQUEST` for an empty key)."""
    if idempotency is None:
        return
    if not idempotency.key:
        raise Invalid("the idempotency key is empty", metadata={"field": "idempotency_key"})
    check_bytes("idempotency_key", idempotency.key.encode(), limits.KEY_BYTES)


def check_metadata(field: str, text: bytes, kind: type[dict[str, object]] | type[list[object]]) -> None:
    """Raises `Invalid` unless the text is empty, or JSON of that kind and not too large."""
    check_bytes(field, text, limits.METADATA_BYTES)
    if text and not isinstance(parse_json(text, field), kind):
        what = "an object" if kind is dict else "a list"
        raise Invalid(f"{field} is not {what}", reason=Reason.INVALID_JSON, metadata={"field": field})
