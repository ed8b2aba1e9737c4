"""Puts parts of logs into archives, each within its time.

Rules of this file:
- An archive is asked for one thing at a time. One that does not answer is asked nothing else until it does: what it has
  been asked may be waited for again.
- Whatever is wrong with an archive is `ArchiveFailed`: a node does not stop for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick_node.retention.archive_file import ArchivePart, packed
from tallystick_node.retention.archives.port import Archive, ArchiveFailed

log = logging.getLogger(__name__)

ARCHIVE_TIMEOUT_S: Final = 60.0
"""How long an archive may take for one file."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an archive was asked for and has not answered."""

    name: str
    answer: asyncio.Task[str]


class Archiving:
    """See the module.

    Attributes:
        failing: why the last file could not be put, by the archive's name.
    """

    def __init__(self, archives: Mapping[str, Archive]) -> None:
        self._archives = archives
        self._asked: dict[str, _Asked] = {}
        self.failing: dict[str, str] = {}

    async def put(self, archive: str, part: ArchivePart, timeout_s: float = ARCHIVE_TIMEOUT_S) -> str:
        """Where the part is, now that it is durable there.

        Raises:
            ArchiveFailed: it is not known to be there.
        """
        try:
            where = await self._put(archive, part, timeout_s)
        except ArchiveFailed as error:
            if archive not in self.failing:
                log.warning("archive failed", extra={"event": "archive_failed", "archive": archive, "why": str(error)})
            self.failing[archive] = str(error)
            raise
        if self.failing.pop(archive, None) is not None:
            log.info("archive works again", extra={"event": "archive_works", "archive": archive})
        return where

    async def _put(self, archive: str, part: ArchivePart, timeout_s: float) -> str:
        place = self._archives.get(archive)
        if place is None:
            raise ArchiveFailed(f"this node's configuration has no archive {archive!r}")
        asked = self._asked.get(archive)
        if asked is not None and asked.answer.done() and asked.name != part.name:
            asked.answer.exception()  # nobody waits for it any more
            asked = None
        if asked is None:
            asked = self._asked[archive] = _Asked(part.name, asyncio.create_task(_ask(place, part)))
        if asked.name == part.name:
            await asyncio.wait((asked.answer,), timeout=timeout_s)
        if not asked.answer.done():
            raise ArchiveFailed(f"the archive has not answered yet for {asked.name}")
        del self._asked[archive]
        return asked.answer.result()


async def _ask(place: Archive, part: ArchivePart) -> str:
    try:
        return await place.put(part.name, await asyncio.to_thread(packed, part))
    except ArchiveFailed:
        raise
    except Exception as error:
        log.exception("an archive failed in an unknown way", extra={"event": "archive_bug"})
        raise ArchiveFailed(f"{type(error).__name__}: {error}") from error
