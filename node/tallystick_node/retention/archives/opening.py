"""The archives of a node's configuration, ready to be written to. Nothing is connected to, or written, by that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tallystick_node.config.values import ArchiveSetting
from tallystick_node.retention.archives.folder import FolderArchive
from tallystick_node.retention.archives.port import Archive
from tallystick_node.retention.archives.s3 import S3Archive
from tallystick_node.storage.files import FileSystem


def open_archives(settings: Iterable[ArchiveSetting], files: FileSystem, node_id: str) -> dict[str, Archive]:
    """The archives by their names."""
    return {each.name: _open(each, files, node_id) for each in settings}


def _open(setting: ArchiveSetting, files: FileSystem, node_id: str) -> Archive:
    if isinstance(setting.location, Path):
        return FolderArchive(files, setting.location, node_id)
    return S3Archive(setting.location)
