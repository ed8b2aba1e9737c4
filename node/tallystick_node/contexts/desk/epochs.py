"""Epochs: a document rebuilt without its past, and what comes late from the epoch before."""

from __future__ import annotations

from tallystick.errors import Invalid, Reason
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.merging import Merger
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId


class Epochs:
    """Begins epochs in a library."""

    def __init__(self, rows: Rows, library: Library, merger: Merger) -> None:
        self._rows = rows
        self._library = library
        self._merger = merger

    def rebuild(self, document: ContextId) -> bytes:
        """The content as a fresh update of writer 1."""
        del document
        raise Invalid("not built yet", reason=Reason.INVALID_REQUEST)

    def start(self, start: worker_pb2.StartEpoch) -> worker_pb2.Done:
        """Begins an epoch."""
        del start
        raise Invalid("not built yet", reason=Reason.INVALID_REQUEST)

    def carry_over(self, loaded: Loaded, update: bytes, edit: context_pb2.Edit, now_unix_ms: int) -> worker_pb2.Merged:
        """Merges what was made in the epoch before."""
        del loaded, update, edit, now_unix_ms
        raise Invalid("not built yet", reason=Reason.INVALID_REQUEST)
