"""An archive in a folder, on a disk of its own or mounted.

Rules of this file:
- A file is whole or not there: it is written beside its place under a name of this node's, synced, renamed, and the
  folder is synced.
- What a crash leaves of it is written over by the same node's next try.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

from tallystick_node.retention.archives.port import Apart, ArchiveFailed, on_a_thread
from tallystick_node.storage.errors import StorageError
from tallystick_node.storage.files import FileSystem


class FolderArchive:
    """See the module.

    Args:
        folder: must be there, and is not made here: a disk that is not mounted is not taken for an archive.
        node_id: of who writes: several nodes may write to one folder.
        apart: does the writing beside the loop.
    """

    def __init__(self, files: FileSystem, folder: Path, node_id: str, apart: Apart = on_a_thread) -> None:
        self._files = files
        self._folder = folder
        self._node_id = node_id
        self._apart = apart

    async def put(self, name: str, data: bytes) -> str:
        """See `Archive`."""
        return await self._apart(lambda: self._put(name, data))

    async def has(self, name: str) -> bool:
        """See `Archive`."""
        return await self._apart(lambda: self._has(name))

    def _has(self, name: str) -> bool:
        path = self._folder / name
        try:
            self._files.list_names(self._folder)  # raises where it is not there
            with suppress(FileNotFoundError):
                self._files.size(path)
                self._sync_folders(path)
                return True
        except (OSError, StorageError) as error:
            raise ArchiveFailed(f"cannot look for {path}: {error}") from error
        return False

    def _put(self, name: str, data: bytes) -> str:
        path = self._folder / name
        partial = path.with_name(f".{path.name}.{self._node_id}")
        try:
            self._files.list_names(self._folder)  # raises where it is not there
            self._files.make_folder(path.parent)
            with closing(self._files.open_append(partial)) as file:
                file.truncate(0)
                file.write(data)
                file.fdatasync()
            self._files.replace(partial, path)
            self._sync_folders(path)
        except (OSError, StorageError) as error:
            raise ArchiveFailed(f"cannot write {path}: {error}") from error
        return str(path)

    def _sync_folders(self, path: Path) -> None:
        """All of them: what a try made that crashed may not be on disk yet."""
        for folder in (path.parent, *path.parent.parents):
            self._files.sync_folder(folder)
            if folder == self._folder:
                return
