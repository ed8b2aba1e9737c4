"""Answers of the desk, and refusals as answers."""

from __future__ import annotations

from typing import Final

from tallystick.errors import TallystickError
from tallystick.v1 import context_pb2, state_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.library import Loaded

WRITING: Final = frozenset(("merge", "forget", "restore", "start_epoch", "squash"))
"""Requests that may write."""


def refusal(error: TallystickError) -> worker_pb2.Response:
    """An error as an answer."""
    return worker_pb2.Response(
        error=state_pb2.Error(reason=error.reason, message=error.message, metadata=error.metadata)
    )


def cursor_of(loaded: Loaded) -> context_pb2.Cursor:
    """What is held of a document; the node adds its own id. Raises CrdtFailed."""
    return context_pb2.Cursor(
        guid=loaded.id.guid,
        epoch=loaded.id.epoch,
        state_vector=loaded.crdt.state_vector(),
        deletes_digest=loaded.deletes_digest(),
        number=loaded.row.number,
    )
