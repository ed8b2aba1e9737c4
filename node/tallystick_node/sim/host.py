"""`Host` of a simulated node: everything that it takes from its machine comes from the seed.

What outlives a process is the `SimMachine`: its disk, its clocks, its place in the network. A `SimHost` is one run of a
process on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

import grpc

from tallystick.worker.v1.worker_pb2 import Response
from tallystick_node.consensus.syncer import Syncing
from tallystick_node.contexts.desk.desk import Desk
from tallystick_node.contexts.worker.supervisor import Supervisor
from tallystick_node.host import Options
from tallystick_node.sim.channel import SimChannel
from tallystick_node.sim.database import SimDatabase
from tallystick_node.sim.disk import SimDisk, SimFiles
from tallystick_node.sim.loop import SimLoop
from tallystick_node.sim.network import Network
from tallystick_node.sim.server import SimServer
from tallystick_node.sim.worker import SILENT_S, SimWorker
from tallystick_node.storage.errors import DatabaseDamaged, StorageError
from tallystick_node.storage.files import FileSystem
from tallystick_node.storage.identity import Identity, open_identity

QUICK_SYNC_S: Final = (0.0001, 0.001)
"""How long a sync takes when all is well."""
UNIX_START_MS: Final = 1_767_225_600_000
"""What wall clocks show at first: 2026-01-01."""


class SimMachine:
    """A machine: what stays when the process on it ends.

    Attributes:
        sync_s: how long a sync takes: the least and the most.
        is_stuck: syncs do not return.
        wall_offset_s: how far the wall clock is off.
        lag_s: how long the monotonic clock stood still.
        is_rotten: its journal was damaged at rest.
        is_state_rotten: its database was.
        are_documents_rotten: its documents were.
        has_lost_documents: some that were on its disk are gone, or may be.
        wrongly_damaged: what was wrong with a database that nobody had damaged; empty: nothing.
    """

    def __init__(self, name: str, loop: SimLoop, network: Network, rng: random.Random) -> None:
        self.name = name
        self.loop = loop
        self.network = network
        self.rng = rng
        self.files = SimFiles(random.Random(rng.random()), tears=True)
        self.sync_s = QUICK_SYNC_S
        self.wall_offset_s = 0.0
        self.lag_s = 0.0
        self.is_rotten = False
        self.is_state_rotten = False
        self.are_documents_rotten = False
        self.has_lost_documents = False
        self.wrongly_damaged = ""
        self._stuck: list[Callable[[], None]] | None = None
        self._on_disk: Callable[[], None] | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether syncs do not return."""
        return self._stuck is not None

    def stick(self) -> None:
        """No sync returns from now on."""
        if self._stuck is None:
            self._stuck = []

    def unstick(self) -> None:
        """They return."""
        stuck, self._stuck = self._stuck, None
        for resume in stuck or ():
            resume()

    def thread_s(self) -> float:
        """How long a job in a thread takes: it syncs."""
        return self.rng.uniform(*self.sync_s)

    def sync(self, job: Callable[[], None], future: asyncio.Future[None]) -> None:
        """Runs a job that syncs; the future has its outcome."""
        self._on_disk = job

        def done() -> None:
            if self._stuck is not None:
                self._stuck.append(lambda: self._later(done))
            elif not future.done():
                self._on_disk = None
                _run(job, future)

        self._later(done)

    def _later(self, event: Callable[[], None]) -> None:
        self.loop.call_later(self.rng.uniform(*self.sync_s), event)

    def process_ended(self, *, power: bool) -> None:
        """The process is gone; what the disk was about is done, or not, or in part."""
        job, self._on_disk = self._on_disk, None
        self._stuck = None if self._stuck is None else []
        if job is not None and self.rng.random() < _UNDER_WAY_SHARE:
            self.files.can_sync = not power
            with contextlib.suppress(OSError, StorageError):  # it was not to be
                job()
        if power:
            self.files.crash()
        self.files.can_sync = True


_UNDER_WAY_SHARE: Final = 0.5
"""Of the flushes that a process was waiting for when it ended, this share had been handed to the disk."""


def _run(job: Callable[[], None], future: asyncio.Future[None]) -> None:
    try:
        job()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
        future.set_exception(error)
    else:
        future.set_result(None)


class SimSyncer:
    """`Syncing` on a simulated disk."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def run(self, job: Callable[[], None]) -> asyncio.Future[None]:
        """See `Syncing`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._machine.sync(job, future)
        return future


class SimHost:
    """See the module."""

    def __init__(self, machine: SimMachine, rng: random.Random) -> None:
        self._machine = machine
        self._rng = rng
        self._databases: list[SimDatabase] = []
        self._identities: list[Identity] = []
        self._drawn = itertools.count()
        self.worker: SimWorker | None = None
        self.files: FileSystem = SimDisk(machine.files)

    def clock(self) -> float:
        """See `Host`."""
        machine = self._machine
        return machine.loop.time() - machine.lag_s

    def unix_ms(self) -> int:
        """See `Host`."""
        seconds = self._machine.loop.time() + self._machine.wall_offset_s
        return UNIX_START_MS + int(seconds * 1000)

    def random_bytes(self, count: int) -> bytes:
        """See `Host`."""
        return self._rng.randbytes(count)

    def _some_bytes(self, count: int) -> bytes:
        """For what is drawn when documents are opened: others at each time, and the same in each run of a seed."""
        return hashlib.sha256(f"{self._machine.name} {self.clock()} {next(self._drawn)}".encode()).digest()[:count]

    def open_syncer(self) -> Syncing:
        """See `Host`."""
        return SimSyncer(self._machine)

    def open_identity(self, folder: Path, *, cluster_id: str, node_id: str) -> Identity:
        """See `Host`."""
        identity = open_identity(folder, cluster_id=cluster_id, node_id=node_id)
        self._identities.append(identity)
        return identity

    def open_database(self, path: Path) -> SimDatabase:
        """See `Host`."""
        try:
            database = SimDatabase.open(path)
        except DatabaseDamaged as error:
            if not self._machine.is_state_rotten:
                self._machine.wrongly_damaged = str(error)
            raise
        assert isinstance(database, SimDatabase)  # noqa: S101 - for the type
        self._databases.append(database)
        return database

    def open_documents(self, folder: Path, *, has_peers: bool) -> Supervisor:
        """See `Host`."""
        return Supervisor(
            folder,
            has_peers=has_peers,
            clock=self.clock,
            unix_ms=self.unix_ms,
            silent_s=SILENT_S,
            make_child=lambda on_answer: self._make_worker(folder, on_answer),
        )

    def _make_worker(self, folder: Path, on_answer: Callable[[Response], None]) -> SimWorker:
        self.worker = SimWorker(
            folder,
            self._open_desk,
            sync_s=self._machine.thread_s,
            is_stuck=lambda: self._machine.is_stuck,
            on_answer=on_answer,
        )
        return self.worker

    def _open_desk(self, folder: Path) -> Desk:
        try:
            return Desk(folder, clock=self.clock, random_bytes=self._some_bytes)
        except DatabaseDamaged as error:
            if not self._machine.are_documents_rotten:
                self._machine.wrongly_damaged = str(error)
            raise

    def make_server(self, options: Options, *, max_concurrent_calls: int | None = None) -> grpc.aio.Server:
        """See `Host`."""
        del options
        server = SimServer(self._machine.network, self._machine.name, max_concurrent_calls)
        return cast("grpc.aio.Server", server)

    def open_channel(
        self, endpoint: str, credentials: grpc.ChannelCredentials | None, options: Options
    ) -> grpc.aio.Channel:
        """See `Host`."""
        del credentials
        return cast("grpc.aio.Channel", SimChannel(self._machine.network, self._machine.name, endpoint, options))

    def end(self, *, power: bool) -> None:
        """The process is gone; `power`: with it what was not synced. What is closed already does not mind."""
        for database in self._databases:
            database.kill(self._machine.rng if power else None)
        if self.worker is not None:
            self.worker.kill()
        for identity in self._identities:
            identity.close()
        self._machine.process_ended(power=power)
