"""What a node takes from the machine it runs on: clocks, randomness, the disk, a thread for syncs, the network.

`RealHost` is a machine; the simulation (`tallystick_node.sim`) runs the same node on one of its own.

Rules of this file:
- A node reads no clock, draws no random number and reaches no disk or network but through its host, with four
  exceptions: SQLite writes its own files, locks and TLS files are the operating system's, the supervisor of the worker
  starts and watches a process, and `asyncio` is the loop that the node runs on (`asyncio.to_thread` included).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import grpc

from tallystick_node.consensus.syncer import Syncer, Syncing
from tallystick_node.contexts.port import Documents
from tallystick_node.contexts.worker.supervisor import Supervisor
from tallystick_node.storage.database import Database
from tallystick_node.storage.files import FileSystem, RealFiles
from tallystick_node.storage.identity import Identity, open_identity

Options: TypeAlias = Sequence[tuple[str, int | str]]
"""gRPC's channel arguments."""


class Host(Protocol):
    """See the module."""

    @property
    def files(self) -> FileSystem:
        """The disk."""
        ...

    def clock(self) -> float:
        """Seconds that never go back, from anywhere."""
        ...

    def unix_ms(self) -> int:
        """What the wall clock says; it may jump."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can guess."""
        ...

    def open_syncer(self) -> Syncing:
        """What runs the journal's syncs beside the event loop."""
        ...

    def open_identity(self, folder: Path, *, cluster_id: str, node_id: str) -> Identity:
        """The data folder, held; raises as `storage.identity.open_identity`."""
        ...

    def open_database(self, path: Path) -> Database:
        """The state machine's database; raises as `Database.open`."""
        ...

    def open_documents(self, folder: Path, *, has_peers: bool) -> Documents:
        """The documents in a folder, once their `run` runs."""
        ...

    def make_server(self, options: Options, *, max_concurrent_calls: int | None = None) -> grpc.aio.Server:
        """A gRPC server, not started."""
        ...

    def open_channel(
        self, endpoint: str, credentials: grpc.ChannelCredentials | None, options: Options
    ) -> grpc.aio.Channel:
        """A gRPC channel, which connects when it is used."""
        ...


class RealHost:
    """`Host` of a process on a machine."""

    def __init__(self) -> None:
        self.files: FileSystem = RealFiles()

    def clock(self) -> float:
        """See `Host`."""
        return time.monotonic()

    def unix_ms(self) -> int:
        """See `Host`."""
        return time.time_ns() // 1_000_000

    def random_bytes(self, count: int) -> bytes:
        """See `Host`."""
        return os.urandom(count)

    def open_syncer(self) -> Syncing:
        """See `Host`."""
        return Syncer()

    def open_identity(self, folder: Path, *, cluster_id: str, node_id: str) -> Identity:
        """See `Host`."""
        return open_identity(folder, cluster_id=cluster_id, node_id=node_id)

    def open_database(self, path: Path) -> Database:
        """See `Host`."""
        return Database.open(path)

    def open_documents(self, folder: Path, *, has_peers: bool) -> Documents:
        """See `Host`."""
        return Supervisor(folder, has_peers=has_peers, clock=self.clock, unix_ms=self.unix_ms)

    def make_server(self, options: Options, *, max_concurrent_calls: int | None = None) -> grpc.aio.Server:
        """See `Host`."""
        return grpc.aio.server(options=options, maximum_concurrent_rpcs=max_concurrent_calls)

    def open_channel(
        self, endpoint: str, credentials: grpc.ChannelCredentials | None, options: Options
    ) -> grpc.aio.Channel:
        """See `Host`."""
        if credentials is None:
            return grpc.aio.insecure_channel(endpoint, options)
        return grpc.aio.secure_channel(endpoint, credentials, options)
