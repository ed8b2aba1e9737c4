"""A transaction, as `with` or as `async with`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.contexts.context import Context


class Transaction:
    """One edit. Made by `Context.transaction`; used once.

    `with` ends at once, and what was edited goes its way. `async with` also waits until the edit is on the local disk,
    if the context has a store. In an `async with` others run in between: what they edit becomes part of it, and what
    comes from the cluster waits.
    """

    def __init__(self, context: Context, inner: AbstractContextManager[None]) -> None:
        self._context = context
        self._inner = inner

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    async def __aenter__(self) -> None:
        self._inner.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)
        if kind is None:
            await self._context.flush(ack="disk")
