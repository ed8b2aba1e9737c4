"""What the views ask of the context that holds them.

Rules of this file:
- `doc` may become another one (a new epoch, a refused update): a view asks for it with every step and keeps nothing of
  it across two.
- All of it belongs to the one thread that edits the document.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import pycrdt

from tallystick._json import JSON
from tallystick.contexts.documents import SharedType

Document: TypeAlias = "pycrdt.Doc[SharedType]"


class Held(Protocol):
    """A context, as a view sees it."""

    @property
    def doc(self) -> Document:
        """The replica, as it is now."""
        ...

    @property
    def writer(self) -> int:
        """The id that this incarnation of the replica writes under; nobody else ever does.

        Raises:
            Unavailable: there is none yet, and none can be had offline.
        """
        ...

    @property
    def actor(self) -> str:
        """Who edits."""
        ...

    @property
    def schema(self) -> JSON:
        """What the context was created with, `{"roots": {name: {"type": ...}}, "strict": ...}`; None: nothing."""
        ...

    def transaction(self, cause: str = "") -> AbstractContextManager[object]:
        """One edit: what happens inside becomes one update. Inside another one it is part of that.

        Raises:
            Unavailable: no writer id can be had offline; or the outbox is full.
        """
        ...

    def unix_ms(self) -> int:
        """Milliseconds since 1970, by this machine's clock."""
        ...
