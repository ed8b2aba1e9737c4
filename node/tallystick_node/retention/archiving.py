"""Puts parts of logs into archives, with the payloads that they name, each file within its time.

Rules of this file:
- An archive is asked for one thing at a time. One that does not answer is asked nothing else until it does: what it has
  been asked may be waited for again.
- Whatever is wrong with an archive is `ArchiveFailed`: a node does not stop for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from tallystick_node.retention.archive_file import ArchivePart, packed
from tallystick_node.retention.archives.port import Archive, ArchiveFailed
from tallystick_node.retention.payload_files import PayloadFiles, manifest_name

log = logging.getLogger(__name__)

ARCHIVE_TIMEOUT_S: Final = 60.0
"""How long an archive may take for one file."""

PAYLOADS_REMEMBERED: Final = 10_000
"""Payloads of which it is remembered that they are in an archive; it is asked again for others."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an archive was asked for and has not answered."""

    what: str
    answer: asyncio.Task[str]


class Archiving:
    """See the module.

    Attributes:
        failing: why the last file could not be put, by the archive's name.
    """

    def __init__(
        self, archives: Mapping[str, Archive], payloads: PayloadFiles, timeout_s: float = ARCHIVE_TIMEOUT_S
    ) -> None:
        self._archives = archives
        self._payloads = payloads
        self._timeout_s = timeout_s
        self._put_before: dict[tuple[str, str], None] = {}
        self._asked: dict[str, _Asked] = {}
        self.failing: dict[str, str] = {}

    async def put_part(self, archive: str, part: ArchivePart) -> str:
        """Where a part of a log is, with all that it names, now that it is durable there.

        Raises:
            ArchiveFailed: it is not known to be there.
        """
        try:
            for payload_id in await self._payloads.named(part):
                await self._put_payload(archive, part.target.namespace, payload_id)
            where = await self._put(archive, part.name, lambda: packed(part))
        except ArchiveFailed as error:
            if archive not in self.failing:
                log.warning("archive failed", extra={"event": "archive_failed", "archive": archive, "why": str(error)})
            self.failing[archive] = str(error)
            raise
        if self.failing.pop(archive, None) is not None:
            log.info("archive works again", extra={"event": "archive_works", "archive": archive})
        return where

    async def _put_payload(self, archive: str, namespace: str, payload_id: bytes) -> None:
        manifest = manifest_name(namespace, payload_id)
        if (archive, manifest) in self._put_before:
            return
        if not await self._ask(archive, f"whether there is {manifest}", lambda place: _whether(place, manifest)):
            async with aclosing(self._payloads.files(namespace, payload_id)) as files:
                name = ""
                async for name, data in files:
                    await self._put(archive, name, partial(bytes, data))
            if name != manifest:  # it is not there, or was collected meanwhile; it may be put again
                return
        self._put_before[archive, manifest] = None
        if len(self._put_before) > PAYLOADS_REMEMBERED:
            del self._put_before[next(iter(self._put_before))]

    async def _put(self, archive: str, name: str, make: Callable[[], bytes]) -> str:
        return await self._ask(archive, name, lambda place: _put(place, name, make))

    async def _ask(self, archive: str, what: str, ask: Callable[[Archive], Coroutine[None, None, str]]) -> str:
        place = self._archives.get(archive)
        if place is None:
            raise ArchiveFailed(f"this node's configuration has no archive {archive!r}")
        asked = self._asked.get(archive)
        if asked is not None and asked.answer.done() and asked.what != what:
            asked.answer.exception()  # nobody waits for it any more
            asked = None
        if asked is None:
            asked = self._asked[archive] = _Asked(what, asyncio.create_task(ask(place)))
        if asked.what == what:
            await asyncio.wait((asked.answer,), timeout=self._timeout_s)
        if not asked.answer.done():
            raise ArchiveFailed(f"the archive has not answered yet for {asked.what}")
        del self._asked[archive]
        try:
            return asked.answer.result()
        except ArchiveFailed:
            raise
        except Exception as error:
            log.exception("an archive failed in an unknown way", extra={"event": "archive_bug"})
            raise ArchiveFailed(f"{type(error).__name__}: {error}") from error


async def _put(place: Archive, name: str, make: Callable[[], bytes]) -> str:
    return await place.put(name, await asyncio.to_thread(make))


async def _whether(place: Archive, name: str) -> str:
    return name if await place.has(name) else ""
