"""What is to be moved: the regular files of a folder, in batches.

Rules of this file:
- Every agent makes the plan anew from the source, so it must come out the same: sorted, no clock, no chance. Its digest
  stands in the log, and an agent that finds another source stops.
- At most `BATCH_FILES_MAX` files a batch: a batch's checksums must fit into one mutation.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BATCHES: Final = 40
BATCH_FILES_MAX: Final = 1000
SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})
"""Not sources: what was compiled, and what others installed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Relative paths by batch, their size in all, and a digest of paths and sizes."""

    batches: tuple[tuple[str, ...], ...]
    size_bytes: int
    digest: str

    @property
    def files(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(path for batch in self.batches for path in batch)


def make_plan(source: Path, pattern: str) -> Plan:
    """The plan for the files below `source` whose names fit `pattern`; links are left out."""
    sizes = {path.relative_to(source).as_posix(): path.stat().st_size for path in _files(source, pattern)}
    paths = sorted(sizes)
    count = min(BATCH_FILES_MAX, max(1, -(-len(paths) // BATCHES)))
    batches = tuple(tuple(paths[i : i + count]) for i in range(0, len(paths), count))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\0{sizes[path]}\n".encode())
    return Plan(batches, sum(sizes.values()), digest.hexdigest())


def default_source() -> Path:
    """The sources of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _files(source: Path, pattern: str) -> Iterator[Path]:
    for path in source.rglob(pattern):
        if path.is_symlink() or not path.is_file():
            continue
        if SKIPPED_FOLDERS.isdisjoint(path.relative_to(source).parts):
            yield path
