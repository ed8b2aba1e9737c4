"""Updates that killed a worker, kept for inspection: `<time>-<sha256>.bin` and `.json` beside it.

Rules of this file:
- Bounded by `ASIDE_FILES` and `ASIDE_BYTES`: the oldest go first.
- It blocks: on a thread. Nothing depends on it but that an update is refused after a restart of the node too.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Final

from tallystick_node.contexts.worker.limits import ASIDE_BYTES, ASIDE_FILES
from tallystick_node.contexts.worker.suspects import Conviction

FOLDER_NAME: Final = "aside"
_NAME: Final = re.compile(r"[0-9]+-([0-9a-f]{64})\.json")


class Aside:
    """The folder of what was set aside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER_NAME

    def sums(self) -> list[bytes]:
        """Sums of the updates there, oldest first."""
        return [bytes.fromhex(found[1]) for path in self._records() if (found := _NAME.fullmatch(path.name))]

    def put(self, conviction: Conviction, how: str, unix_ms: int) -> Path:
        """Keeps an update; where its record is.

        Raises:
            OSError: the disk says no.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        merge = conviction.request.merge
        record = self.folder / f"{unix_ms:015d}-{conviction.sum.hex()}.json"
        record.with_suffix(".bin").write_bytes(merge.update)  # empty: it came in parts, and is its sender's
        edit = merge.edit
        record.write_text(
            json.dumps(
                {
                    "guid": conviction.document.guid.hex(),
                    "epoch": conviction.document.epoch,
                    "sha256": conviction.sum.hex(),
                    "size_bytes": len(merge.update),
                    "origin": int(merge.origin),
                    "actor": edit.actor,
                    "cause": edit.cause,
                    "node_id": edit.node_id,
                    "writer": edit.writer,
                    "time_unix_ms": unix_ms,
                    "how": how,
                }
            ),
            encoding="utf-8",
        )
        self._prune()
        return record

    def _records(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _prune(self) -> None:
        size_bytes = 0
        for count, record in enumerate(reversed(self._records()), start=1):
            update = record.with_suffix(".bin")
            with contextlib.suppress(FileNotFoundError):
                size_bytes += update.stat().st_size
            if count > ASIDE_FILES or size_bytes > ASIDE_BYTES:
                update.unlink(missing_ok=True)
                record.unlink()
