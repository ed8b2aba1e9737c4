"""What stands in the place of pysyncobj's own parts: its poller, pickle, nodes, serializer and match indexes.

Importing this file changes pysyncobj's modules for the whole process: it has no other way to be given these parts. Its
insides (the names with `_SyncObj__`) are the kernel's alone.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import Final, NoReturn

import pysyncobj.pickle as engine_pickle
import pysyncobj.syncobj as engine
from pysyncobj.node import Node
from pysyncobj.version import VERSION

PINNED_VERSION: Final = "0.3.17"
if VERSION != PINNED_VERSION:
    raise ImportError(
        f"pysyncobj {PINNED_VERSION} is needed, {VERSION} is installed: its insides are part of our fixes"
    )


class _NoPoller:
    """Sockets are the transport's."""

    def poll(self, timeout_s: float) -> None:
        """Nothing to wait for: the owner of the loop waits."""


def _refuse_pickle(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("pickle is never used")


class _TentativeDeletion(logging.Filter):
    """pysyncobj warns that it truncates applied entries; here a deletion is tentative, see raft_log.py."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("truncating already-applied")


class Peer(Node):  # type: ignore[misc]
    """A node by its id, hashed the same in every process so that sets of nodes are walked in the same order."""

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self._hash = zlib.crc32(node_id.encode())

    def __hash__(self) -> int:
        return self._hash


class NoDumps:
    """In the place of pysyncobj's serializer: whole states are never pickled, sent or loaded."""

    def getTransmissionData(self, _node: Node) -> None:  # noqa: N802
        return None

    def setTransmissionData(self, _data: object) -> bool:  # noqa: N802
        return False

    def cancelTransmisstion(self, _node: Node) -> None:  # noqa: N802
        return None


class MatchIndex(dict[Node, int]):
    """What followers have on disk, seen through what this leader has on disk itself.

    pysyncobj counts the leader for every entry it has written. An entry that is not yet synced here must not count as
    here, so no entry behind our own disk finds a majority (fault 3 of pysyncobj). Within a term the values only rise.
    """

    def __init__(self, durable_index: Callable[[], int]) -> None:
        super().__init__()
        self._durable_index = durable_index

    def __getitem__(self, node: Node) -> int:
        return min(super().__getitem__(node), self._durable_index())

    def __setitem__(self, node: Node, index: int) -> None:
        super().__setitem__(node, max(index, self.get(node, 0)) if index else 0)


engine.logger.addFilter(_TentativeDeletion())
engine.createPoller = lambda _kind: _NoPoller()
engine.PIPE_NOTIFIER_ENABLED = False
for _name in ("load", "loads", "dump", "dumps"):
    setattr(engine_pickle, _name, _refuse_pickle)
