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


def name_logs(response: worker_pb2.Response, log: bytes) -> None:
    """Says of which log the numbers of an answer are."""
    match response.WhichOneof("body"):
        case "merged":
            response.merged.log = log
        case "done" if response.done.HasField("merged"):
            response.done.merged.log = log
        case "described":
            response.described.cursor.log = log
        case "data" if response.data.HasField("cursor"):
            response.data.cursor.log = log
        case _:
            return
