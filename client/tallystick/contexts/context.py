"""A context as its user holds it: a live local replica of a shared document."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tallystick._calls import Calls
from tallystick._json import JSON
from tallystick.contexts.documents import Document
from tallystick.contexts.replica import Made, Replica


class Context:
    """A shared document, live. Made by `Client.context`; used as `async with`.

    Edits are made on the local replica, seen at once, and never wait. All of it belongs to the event loop's thread.
    """

    def __init__(self, calls: Calls, *, namespace: str, name: str, actor: str) -> None:
        self._calls = calls
        self._namespace, self._name, self._actor = namespace, name, actor
        self._schema: JSON = None
        self._replica = Replica(self._made, lambda: None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replica.close()

    @property
    def name(self) -> str:
        """The context's name."""
        return self._name

    @property
    def actor(self) -> str:
        """Who edits."""
        return self._actor

    @property
    def writer(self) -> int:
        """The id that this incarnation of the replica writes under; nobody else ever does.

        Raises:
            Unavailable: there is none yet, and none can be had offline.
        """
        return self._replica.writer

    @property
    def schema(self) -> JSON:
        """What the context was created with: `{"roots": {name: {"type": ...}}, "strict": ...}`; None: nothing."""
        return self._schema

    @property
    def doc(self) -> Document:
        """The replica as it is now: a `pycrdt.Doc`. It may become another one: keep nothing of it across an await."""
        return self._replica.doc

    def transaction(self, cause: str = "") -> AbstractContextManager[None]:
        """One edit: what happens inside becomes one update. Inside another one it is part of that.

        Raises:
            Unavailable: no writer id can be had offline.
        """
        return self._replica.transaction(cause)

    def unix_ms(self) -> int:
        """Milliseconds since 1970, by this machine's clock."""
        return self._calls.outside.unix_ms()

    def _made(self, made: Made) -> None:
        del made
