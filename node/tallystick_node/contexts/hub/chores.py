"""What the worker has yet to hear of what was decided: documents that begin, move on, or are gone.

Rules of this file:
- Chores of a document are done one after another, and before anything else is asked of that document (`settled`).
- A chore that fails because the worker is down is done again. All are idempotent, and can be cut off anywhere.
- The table is bounded. Beyond that, and at a start, `needs_look` is set: then all decided documents are compared with
  the worker's (`reconcile`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, Protocol

from tallystick.errors import TallystickError, Unavailable, Undecided

log = logging.getLogger(__name__)

CHORES_DOCUMENTS: Final = 10_000
"""Documents with chores."""
RETRY_S: Final = 0.2
"""How long to wait before the worker is asked again."""


class Chore(Protocol):
    """One thing to be told."""

    async def __call__(self) -> None:
        """Tells it. Raises Unavailable if it is to be told again, Refused if it makes no sense any more."""
        ...


class Chores:
    """See the module."""

    def __init__(self) -> None:
        self._chores: dict[bytes, deque[Chore]] = {}
        self._doing: dict[bytes, asyncio.Task[None]] = {}
        self.needs_look = True

    def __len__(self) -> int:
        return len(self._chores)

    def add(self, guid: bytes, chore: Chore, *, instead: bool = False) -> None:
        """A further chore of a document; `instead`: of all that it has."""
        if instead and (doing := self._doing.pop(guid, None)) is not None:
            doing.cancel()
            self._chores.pop(guid, None)
        chores = self._chores.get(guid)
        if chores is not None:
            chores.append(chore)
        elif len(self._chores) >= CHORES_DOCUMENTS:
            self.needs_look = True
        else:
            chores = self._chores[guid] = deque([chore])
            self._doing[guid] = asyncio.get_running_loop().create_task(self._do(guid, chores), name="chore")

    async def settled(self, guid: bytes) -> None:
        """Returns once the document has no chores. The caller bounds it."""
        while (doing := self._doing.get(guid)) is not None:
            await asyncio.wait((doing,))

    def is_settled(self, guid: bytes) -> bool:
        """Whether it has none."""
        return guid not in self._doing

    async def close(self) -> None:
        """Ends what is under way: it is found again at the next start."""
        doing = list(self._doing.values())
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)

    async def _do(self, guid: bytes, chores: deque[Chore]) -> None:
        try:
            while chores:
                await _until_done(guid, chores[0])
                chores.popleft()
        finally:
            if self._chores.get(guid) is chores:  # else others took its place
                del self._chores[guid], self._doing[guid]


async def _until_done(guid: bytes, chore: Chore) -> None:
    while True:
        try:
            await chore()
        except (Unavailable, Undecided):
            await asyncio.sleep(RETRY_S)
        except TallystickError as error:
            why = {"event": "chore_refused", "guid": guid.hex(), "why": str(error)}
            log.warning("the worker refused what was decided", extra=why)
            return
        else:
            return
