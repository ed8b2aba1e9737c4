"""Copies files so that a kill at any instant leaves each target file whole or absent.

Rules of this file:
- Copied to the staging folder, synced, renamed: a file in its place is complete. The staging folder lies inside the
  target, since a rename is only atomic within one file system.
- When `copy_files` returns, files and names are on disk: only then may the log say so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

STAGING: Final = ".staging"
_CHUNK_BYTES: Final = 1 << 20


def copy_files(source: Path, target: Path, paths: Sequence[str]) -> dict[str, str]:
    """Copies these files below `source` to the same places below `target`; gives the SHA-256 of each.

    Raises:
        OSError: a file cannot be read or written.
    """
    staging = target / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    part = staging / f"{os.getpid()}.part"
    sums = {}
    for path in paths:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        sums[path] = _copy(source / path, part)
        part.replace(place)
    for folder in {
        ancestor for path in paths for ancestor in (target / path).parents if ancestor.is_relative_to(target)
    }:
        _sync_folder(folder)
    return sums


def checksums(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of those of these files that are there."""
    return {path: sha256_of(folder / path) for path in paths if (folder / path).is_file()}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_staging(target: Path) -> None:
    """Removes what killed agents left half copied."""
    shutil.rmtree(target / STAGING, ignore_errors=True)


def _copy(source: Path, part: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, part.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copystat(source, part)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
