"""What is told of a batch before it is on disk: the edits of other nodes, for those who have the document open here.

Rules of this file:
- Only what a peer sent: it pushes nothing that is not on its own disk. So whatever a subscriber is told is on some
  disk, and an edit that is built on it can be merged. An edit of a client of this node's waits for this node's disk.
- Only what adds something. The number of an edit that was told early may be given to another one, if the process ends
  before the commit. A cursor with that number still asks for the edit by its state vector, where that shows it: what
  only deletes does not show there.
- In order: behind the first edit that has to wait nothing is told.
- Acks and numbers for peers are none of this: they follow the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.answers import WRITING
from tallystick_node.contexts.desk.limits import EARLY_REQUESTS


def early_answers(
    requests: Sequence[worker_pb2.Request], answers: Sequence[worker_pb2.Response]
) -> list[worker_pb2.Response]:
    """Copies of the answers that are told before the commit, in order."""
    early: list[worker_pb2.Response] = []
    if len(requests) > EARLY_REQUESTS:
        return early
    for request, answer in zip(requests, answers, strict=True):
        if request.WhichOneof("body") not in WRITING or answer.HasField("error"):
            continue
        if not answer.HasField("merged"):
            break
        merged = answer.merged
        if not merged.is_novel:
            continue
        if request.merge.origin != worker_pb2.ORIGIN_PEER or merged.edit.clock >= merged.edit.end_clock:
            break
        told = worker_pb2.Response(is_early=True)
        told.MergeFrom(answer)
        early.append(told)
    return early
