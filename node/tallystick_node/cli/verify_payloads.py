"""Whether an archive holds, whole, the payloads that mutations name: their files beside the logs', and no node asked.

Rules of this file: an id is the hash of the manifest, which has the hash of each chunk: nothing else is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tallystick.errors import Corrupt
from tallystick_node.core.manifests import CHUNK_ENTRY_BYTES, chunks_of, payload_id
from tallystick_node.retention.payload_files import manifest_name


def check_payloads(archive: Path, namespace: str, ids: Iterable[bytes]) -> None:
    """Looks at each of these payloads.

    Raises:
        Corrupt: one is not there, or not whole; the sentence names it.
    """
    for each in ids:
        manifest = archive / manifest_name(namespace, each)
        try:
            _check(manifest, each)
        except OSError as error:
            raise Corrupt(f"the payload {each.hex()} cannot be read: {error}") from error


def _check(manifest: Path, named: bytes) -> None:
    listed = manifest.read_bytes()
    if len(listed) % CHUNK_ENTRY_BYTES or payload_id(listed) != named:
        raise Corrupt(f"{manifest} is not the one of that payload")
    parts = _bytes(sorted(manifest.parent.glob(f"{manifest.stem}.[0-9][0-9][0-9][0-9][0-9]")))
    rest = b""
    for chunk in chunks_of(listed):
        while len(rest) < chunk.size_bytes and (more := next(parts, b"")):
            rest += more
        content, rest = rest[: chunk.size_bytes], rest[chunk.size_bytes :]
        if hashlib.sha256(content).digest() != chunk.hash:
            raise Corrupt(f"the payload {named.hex()} is not whole")
    if rest or next(parts, b""):
        raise Corrupt(f"the payload {named.hex()} has more than it should")


def _bytes(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        yield file.read_bytes()
