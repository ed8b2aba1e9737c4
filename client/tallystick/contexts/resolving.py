"""Overlaps, offered to whoever resolves them: keep both, rule, or ask.

An overlap is two concurrent edits of one key or range. Merging has already kept one of two values of a key, and both of
two insertions; a resolver may decide otherwise, and that is a further edit.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from tallystick._json import JSONLike
from tallystick._pointer import tokens_of
from tallystick.contexts.records import Overlap
from tallystick.errors import Invalid


class KeepBoth:
    """What a resolver returns to leave things as they were merged."""

    def __repr__(self) -> str:
        return "KEEP_BOTH"


KEEP_BOTH: Final = KeepBoth()

Resolved: TypeAlias = "JSONLike | KeepBoth"
Resolver: TypeAlias = "Callable[[Overlap], Resolved] | Callable[[Overlap], Awaitable[Resolved]]"
"""Gets an overlap, and returns the value to write at its path, or `KEEP_BOTH`. It may be a coroutine function, and ask
somebody."""


async def resolved(resolver: Resolver, overlap: Overlap) -> Resolved:
    """What the resolver says."""
    answer = resolver(overlap)
    if inspect.isawaitable(answer):
        said: Resolved = await answer
        return said
    return answer


def key_of(overlap: Overlap) -> tuple[str, str]:
    """The map and the key that an overlap is of.

    Raises:
        Invalid: it is not of a key.
    """
    parts = tokens_of(overlap.path)
    if overlap.kind != "key" or len(parts) != 2:
        raise Invalid(f"a value for {overlap.path!r}, which is no key of a map: edit it, and return KEEP_BOTH")
    return parts[0], parts[1]
