"""Puts a node together, runs it, and takes it apart.

Rules of this file:
- Things are opened in the order in which they depend on each other and closed in the reverse one.
- The first task that fails stops the node; its exception comes out of `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import grpc

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.api.cluster_service import ClusterService
from tallystick_node.api.header import Headers
from tallystick_node.api.server import ClientServer, ServerTLS
from tallystick_node.api.state_service import StateService
from tallystick_node.config import NodeConfig, TLSConfig, split_address
from tallystick_node.consensus.members import Member, Members
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.runner import Runner
from tallystick_node.consensus.settings import Tuning
from tallystick_node.core.outcomes import Event
from tallystick_node.feed.feed import Feed
from tallystick_node.host import Host, RealHost
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.links import PeerLinks
from tallystick_node.peers.options import SERVER_OPTIONS
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.tls import PeerCredentials, peer_credentials
from tallystick_node.status import NodeStatus
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DiskFull, StorageError
from tallystick_node.storage.identity import Identity, open_identity
from tallystick_node.storage.install import recover
from tallystick_node.storage.journal import Journal
from tallystick_node.store import Store

log = logging.getLogger(__name__)

_GRACE_S: Final = 2.0
"""How long calls under way may take to end when the node stops."""
_PORT_WAIT_S: Final = 2.0
"""How long a port may be in use at the start before this node gives up."""
_PORT_RETRY_S: Final = 0.1
_CHECKPOINT_EVERY_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5
"""How often free disk space and leadership are looked at."""


class PortInUse(OSError):
    """Another process listens on the address."""


class Node:
    """One node, put together; `run` runs it until `stop`."""

    def __init__(
        self, config: NodeConfig, host: Host, identity: Identity, journal: Journal, database: Database
    ) -> None:
        self._config = config
        self._host = host
        self._stopping = asyncio.Event()
        self._database = database
        self._feed = Feed(database.reads, replay_limit_events=config.watch_history_events)
        self._machine = Machine(database, self._publish)
        self._replica: Replica[Outcomes] = Replica(
            config.node_id,
            _first_members(config),
            journal,
            self._machine,
            tuning=Tuning(config.heartbeat_s, config.election_timeout_min_s, config.election_timeout_max_s),
            clock=host.clock,
            rng=random.Random(host.random_bytes(16)),
        )
        self._runner: Runner[Outcomes] = Runner(
            self._replica, journal, host.clock, id_prefix=host.random_bytes(8), open_syncer=host.open_syncer
        )
        self._status = NodeStatus(config, self._replica, self._runner, database, journal, self._feed, host)
        headers = Headers(config.node_id, self._status.whereabouts)
        store = Store(self._runner, self._machine, database.reads, self._feed, host.unix_ms)
        self._clients = ClientServer(
            host,
            StateService(store, headers),
            ClusterService(self._status.report, headers),
            config.max_concurrent_calls,
        )
        local = LocalNode(config.cluster_id, config.node_id, identity.incarnation, identity.data_id)
        self._peer_tls = _peer_tls(config.tls)
        endpoints = {member.node_id: member.peer_endpoint for member in config.members}
        self._links = PeerLinks(local, endpoints, self._peer_tls, self._runner, host=host)
        self._peers = PeerServicer(local, list(endpoints), self._runner, require_certificate=self._peer_tls is not None)

    def stop(self) -> None:
        """Ends `run`, gracefully."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until `stop`; raises what the node must not go on with."""
        await self._clients.start(self._config.client_address, _client_tls(self._config.tls))
        peer_server = await self._start_peer_server()
        log.info("node started", extra={"event": "node_started", "node_id": self._config.node_id})
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._links.run(), name="links"),
                    tasks.create_task(self._checkpoints(), name="checkpoints"),
                    tasks.create_task(self._look_around(), name="look around"),
                ]
                consensus = tasks.create_task(self._runner.run(self), name="consensus")
                await self._stopping_or(consensus)
                await self._close_clients()
                self._runner.stop()
                await consensus
                for task in running:
                    task.cancel()
        finally:
            self._peers.close()
            await peer_server.stop(None)
            await self._clients.stop(0)
            log.info("node stopped", extra={"event": "node_stopped", "node_id": self._config.node_id})

    async def _stopping_or(self, consensus: asyncio.Task[None]) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((stopping, consensus), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    async def _close_clients(self) -> None:
        self._feed.close()
        await self._clients.stop(_GRACE_S)

    async def _start_peer_server(self) -> grpc.aio.Server:
        server = self._host.make_server(SERVER_OPTIONS)
        self._peers.add_to(server)
        if self._peer_tls is None:
            server.add_insecure_port(self._config.peer_address)
        else:
            server.add_secure_port(self._config.peer_address, self._peer_tls.server)
        await server.start()
        return server

    # What consensus sends on (consensus.transport.Transport).

    def send(self, peer_id: str, message: RaftMessage) -> None:
        """Hands a message to the link to a peer."""
        self._links.send(peer_id, message)

    def update_members(self, members: Members) -> None:
        """Links to those who are of the cluster."""

    def _publish(self, events: Sequence[Event], position: int) -> None:
        self._feed.publish(events, position)

    async def _checkpoints(self) -> None:
        """Syncs the state machine now and then, on a thread: the journal keeps what is not synced yet."""
        while True:
            await asyncio.sleep(_CHECKPOINT_EVERY_S)
            if self._database.durable_index == self._database.applied_index:
                continue
            try:
                await asyncio.to_thread(self._database.checkpoint)
            except DiskFull:
                log.warning("no room to sync the state", extra={"event": "disk_full", "what": "checkpoint"})

    async def _look_around(self) -> None:
        """Refuses writes before the disk is full, and tells health checks whether there is a leader."""
        while True:
            free_bytes = self._host.files.free_bytes(self._config.data_folder)
            self._replica.accepts_writes = free_bytes >= self._config.disk_reserve_bytes
            await self._clients.set_serving(self._status.has_leader)
            await asyncio.sleep(_LOOK_EVERY_S)


async def serve(config: NodeConfig) -> None:
    """Runs a node until SIGTERM or SIGINT.

    Raises:
        StorageError: the data folder is another node's, in use, or damaged; the sentence says which and what to do.
        PortInUse: another process listens on one of the addresses.
    """
    for address in (config.client_address, config.peer_address):
        await _wait_for_port(address)
    async with open_node(config, RealHost()) as node:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stop)
        try:
            await node.run()
        except BaseExceptionGroup as group:  # one task failed and took the others along: its error is the one to tell
            first = _first_error(group)
            log.critical("node failed", extra={"event": "node_failed", "why": f"{type(first).__name__}: {first}"})
            raise first from group


def _first_members(config: NodeConfig) -> Members:
    """Those that the cluster began with: all voters."""
    return Members.of(Member(member.node_id, member.client_endpoint, member.peer_endpoint) for member in config.members)


def _first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.asynccontextmanager
async def open_node(config: NodeConfig, host: Host) -> AsyncIterator[Node]:
    """A node on its data folder, to be run; leaving closes what it has open.

    Raises:
        StorageError: the data folder is another node's, in use, or damaged; the sentence says which and what to do.
    """
    with contextlib.ExitStack() as opened:
        identity = opened.enter_context(
            open_identity(config.data_folder, cluster_id=config.cluster_id, node_id=config.node_id)
        )
        journal = Journal.open(host.files, config.data_folder / "journal", segment_bytes=config.journal_segment_bytes)
        opened.callback(journal.close)
        recover(config.data_folder, journal)
        database = host.open_database(config.data_folder / "state.db")
        opened.callback(database.close)
        _check_match(config.data_folder, journal, database)
        yield Node(config, host, identity, journal, database)
        with contextlib.suppress(DiskFull):
            await asyncio.to_thread(database.checkpoint)


def _check_match(folder: Path, journal: Journal, database: Database) -> None:
    """The journal holds whatever the state machine has applied, or compaction has dropped it."""
    if not journal.base_index <= database.applied_index <= max(journal.last_index, 0):
        raise StorageError(
            f"{folder}: the state has applied entry {database.applied_index}, the journal has entries"
            f" {journal.first_index} to {journal.last_index}: a part of the folder is missing or of another time."
            " Restore the folder whole, or replace this node"
        )


async def _wait_for_port(address: str) -> None:
    """Returns once the address can be bound. A port may be held for a moment, by what this node was before."""
    deadline_s = time.monotonic() + _PORT_WAIT_S
    while (error := _bind_error(address)) is not None:
        if time.monotonic() >= deadline_s:
            sentence = f"cannot listen on {address}: {error.strerror}; stop what uses it, or choose another"
            raise PortInUse(error.errno, sentence) from error
        await asyncio.sleep(_PORT_RETRY_S)


def _bind_error(address: str) -> OSError | None:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _peer_tls(tls: TLSConfig | None) -> PeerCredentials | None:
    if tls is None:
        return None
    return peer_credentials(tls.peer_ca.read_bytes(), tls.peer_cert.read_bytes(), tls.peer_key.read_bytes())


def _client_tls(tls: TLSConfig | None) -> ServerTLS | None:
    if tls is None:
        return None
    return ServerTLS(tls.ca.read_bytes(), tls.cert.read_bytes(), tls.key.read_bytes())
