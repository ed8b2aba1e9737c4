"""Payloads beside archived parts: what was not there once is archived when it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

from tallystick_node.retention.archive_file import ArchivePart
from tallystick_node.retention.archiving import Archiving
from tallystick_node.retention.payload_files import PayloadFiles, manifest_name
from tests.unit.archive_kit import Log

ID = b"\x01" * 32
MANIFEST = manifest_name("demo", ID)


class Memory:
    """An archive."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def put(self, name: str, data: bytes) -> str:
        self.files[name] = data
        return name

    async def has(self, name: str) -> bool:
        return name in self.files


class Files:
    """Each part names one payload, of which so many files are there."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def named(self, part: ArchivePart) -> list[bytes]:
        return [ID]

    async def files(self, namespace: str, payload_id: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
        for name in self.names:
            yield name, b"content"


def test_what_was_not_there_is_archived_once_it_is() -> None:
    async def scenario() -> None:
        archive, files, log = Memory(), Files(), Log(6)
        archiving = Archiving({"cold": archive}, cast("PayloadFiles", files))
        for names in ([], ["half"], ["half", MANIFEST]):  # not there, collected in between, there
            files.names = names
            await archiving.put_part("cold", log.part(0, 3))
            assert (MANIFEST in archive.files) == (MANIFEST in names)

    asyncio.run(scenario())
