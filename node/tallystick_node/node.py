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
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import grpc

from tallystick.errors import NoLeader
from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.access import Access
from tallystick_node.api.branch_service import BranchService
from tallystick_node.api.causality_service import CausalityService
from tallystick_node.api.cluster_service import ClusterService
from tallystick_node.api.context_service import ContextService
from tallystick_node.api.header import Headers
from tallystick_node.api.lease_service import LeaseService
from tallystick_node.api.member_service import MemberService
from tallystick_node.api.payload_service import PayloadService
from tallystick_node.api.retention_service import RetentionService
from tallystick_node.api.schema_service import SchemaService
from tallystick_node.api.server import ClientServer, ServerTLS
from tallystick_node.api.state_service import StateService
from tallystick_node.api.step_service import StepService
from tallystick_node.api.team_service import TeamService
from tallystick_node.branch_store import BranchStore
from tallystick_node.causality.store import CausalityStore
from tallystick_node.config.values import NodeConfig, TLSConfig
from tallystick_node.consensus.digests import ReplicaDivergedError
from tallystick_node.consensus.members import Member, Members, from_proto
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.runner import Runner
from tallystick_node.consensus.settings import Tuning
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.core.outcomes import Event
from tallystick_node.feed.feed import Feed
from tallystick_node.host import Host, RealHost
from tallystick_node.leases.keeper import LeaseKeeper
from tallystick_node.leases.store import LeaseStore
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.opening import first_error, open_data
from tallystick_node.payloads.keeper import PayloadKeeper
from tallystick_node.payloads.store import PayloadStore
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.links import PeerLinks
from tallystick_node.peers.options import SERVER_OPTIONS
from tallystick_node.peers.roster import Roster
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.snapshot_server import SnapshotServer
from tallystick_node.peers.tls import PeerCredentials, peer_credentials
from tallystick_node.ports import wait_for_port
from tallystick_node.retention.archives.opening import open_archives
from tallystick_node.retention.archiving import Archiving
from tallystick_node.retention.keeper import RetentionKeeper
from tallystick_node.retention.looking import Looks
from tallystick_node.retention.payload_files import PayloadFiles
from tallystick_node.retention.planner import Planner
from tallystick_node.retention.store import RetentionStore
from tallystick_node.schemas.checking import Checks
from tallystick_node.schemas.store import SchemaStore
from tallystick_node.schemas.validators import Validators
from tallystick_node.sharing import AmongNodes, Sharing
from tallystick_node.snapshots.catch_up import CatchUp, Parts
from tallystick_node.snapshots.copies import Copies
from tallystick_node.status import NodeStatus
from tallystick_node.step_store import StepStore
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DiskFull, StorageError
from tallystick_node.storage.identity import Identity
from tallystick_node.storage.journal import Journal
from tallystick_node.storage.quarantine import check_not_quarantined, quarantine
from tallystick_node.store import Store
from tallystick_node.team_store import TeamStore

if TYPE_CHECKING:
    from tallystick_node.web.server import WebServer

log = logging.getLogger(__name__)

_GRACE_S: Final = 2.0
"""How long calls under way may take to end when the node stops."""
_HAND_OVER_S: Final = 2.0
"""How long a leader that stops waits for another to lead."""
_CHECKPOINT_EVERY_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5
"""How often free disk space and leadership are looked at."""


class Removed(StorageError):
    """This node is no member of its cluster any more."""


class Node:
    """One node, put together; `run` runs it until `stop`."""

    def __init__(
        self,
        config: NodeConfig,
        host: Host,
        tuning: Tuning,
        identity: Identity,
        journal: Journal,
        database: Database,
    ) -> None:
        self._config = config
        self._host = host
        self._stopping = asyncio.Event()
        self._database = database
        self._feed = Feed(database.reads, replay_limit_events=config.watch_history_events)
        self._machine = Machine(database, self._publish, lambda records: self._keeper.heard(records))
        self._replica: Replica[Outcomes] = Replica(
            config.node_id,
            _first_members(config),
            journal,
            self._machine,
            tuning=tuning,
            clock=host.clock,
            rng=random.Random(host.random_bytes(16)),
        )
        self._runner: Runner[Outcomes] = Runner(
            self._replica, journal, host.clock, id_prefix=host.random_bytes(8), open_syncer=host.open_syncer
        )
        self._status = NodeStatus(
            config,
            self._replica,
            self._runner,
            database,
            journal,
            self._feed,
            host,
            lambda: self._sharing.report(),
            lambda: self._retention_keeper,
        )
        self._access = Access(self._runner, self._machine, self._fail)
        self._keeper = LeaseKeeper(
            lambda after, limit: self._access.looked_up(lambda: database.reads.leases.held(after, limit)),
            self._access.propose,
            lambda: self._replica.kernel.term if self._replica.kernel.is_leader else None,
            host.clock,
            host.unix_ms,
        )
        self._payload_keeper = PayloadKeeper(
            database.reads.payloads,
            self._access.propose,
            lambda: self.is_leader,
            host.unix_ms,
            config.payload_grace_s,
        )
        self._retention = RetentionStore(self._access, database.reads.retention, host.unix_ms)
        self._looks = Looks(self._access, database.reads)
        self._retention_keeper = RetentionKeeper(
            self._looks,
            Archiving(
                open_archives(config.archives, host.files, config.node_id),
                PayloadFiles(self._access, database.reads.payloads),
            ),
            self._retention.compact,
            lambda: self._replica.kernel.term if self._replica.kernel.is_leader else None,
            host.unix_ms,
            every_s=config.retention_every_s,
            actor=f"node:{config.node_id}",
        )
        self._contexts = DecidedContexts(self._access, database.reads.contexts, host.unix_ms)
        self._fatal: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        """What was found beside consensus that this node must not go on with."""
        local = LocalNode(config.cluster_id, config.node_id, identity.incarnation, identity.data_id)
        self._peer_tls = _peer_tls(config.tls)
        self._peers = PeerServicer(
            local,
            [],
            self._runner,
            require_certificate=self._peer_tls is not None,
            members=lambda: self._replica.members.to_proto(),
        )
        self._sharing = Sharing(config, host, self._contexts, self._among(local))
        self._clients = self._make_client_server()
        self._web = self._make_web_server() if config.http_address is not None else None
        self._links = PeerLinks(
            local,
            {},
            self._peer_tls,
            self._runner,
            on_removed=self._look_if_removed,
            on_members=lambda members: self._roster.hear_of(from_proto(members)),
            host=host,
        )
        self._roster = Roster(
            self._replica.members,
            self._links,
            self._peers,
            lambda: self._status.has_leader,
            also=self._sharing.exchange,
        )
        self._roster.update(self._replica.members)
        copies = Copies(config.data_folder, database, self._fail)
        self._snapshots = SnapshotServer(self._peers.admission, copies)
        self._catch_up = CatchUp(
            Parts(self._replica, self._runner, self._machine, database, journal),
            local,
            self._peer_tls,
            host,
            config.data_folder,
            config.disk_reserve_bytes,
            lambda: self._roster.endpoints,
        )

    def _among(self, local: LocalNode) -> AmongNodes:
        return AmongNodes(
            local,
            self._peers,
            self._peer_tls,
            voters=lambda: frozenset(self._replica.members.voter_ids),
            leads=lambda: self._replica.kernel.is_leader,
        )

    def _make_client_server(self) -> ClientServer:
        headers = Headers(self._config.node_id, self._status.whereabouts)
        validators = Validators()
        checks = Checks(self._access, self._database.reads.registry, validators)
        store = Store(self._access, self._database.reads, self._feed, checks, self._host.unix_ms)
        leases = LeaseStore(self._access, self._database.reads.leases, self._host.unix_ms)
        causality = CausalityStore(self._access, self._database.reads.causality, self._feed, self._sharing.observed)
        return ClientServer(
            self._host,
            StateService(store, leases, self._retention, headers),
            ClusterService(self._status.report, headers),
            self._config.max_concurrent_calls,
            MemberService(self._runner, self._status.describe, headers),
            ContextService(
                self._contexts, self._sharing.merged, self._sharing.verifying, self._sharing.compacting, headers
            ),
            LeaseService(leases, headers),
            StepService(StepStore(self._access, self._database.reads.steps, self._host.unix_ms), headers),
            BranchService(BranchStore(self._access, self._database.reads, self._host.unix_ms), headers),
            TeamService(TeamStore(self._access, self._database.reads, checks, self._host.unix_ms), headers),
            PayloadService(PayloadStore(self._access, self._database.reads.payloads, self._host.unix_ms), headers),
            causality=CausalityService(causality, headers),
            retention=RetentionService(
                self._retention,
                Planner(self._access, self._looks, self._host.clock, self._host.unix_ms),
                self._retention_keeper,
                headers,
            ),
            schemas=SchemaService(
                SchemaStore(self._access, self._database.reads.registry, validators, self._host.unix_ms), headers
            ),
        )

    def _make_web_server(self) -> WebServer:
        # Imported here: most of what it loads nobody else needs, and a node without an HTTP port starts without it.
        from tallystick_node.web.hub_room import HubRooms
        from tallystick_node.web.metrics import Metrics
        from tallystick_node.web.server import WebServer

        sharing = self._sharing
        return WebServer(
            HubRooms(sharing.merged, sharing.hub, self._host.unix_ms),
            Metrics(self._status.report, sharing.merged, sharing.hub, sharing.documents).text,
            self._is_serving,
            self._config.web_origins,
        )

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self._replica.kernel.is_leader

    def stop(self) -> None:
        """Ends `run`, gracefully."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until `stop`; raises what the node must not go on with."""
        await self._clients.start(self._config.client_address, _client_tls(self._config.tls))
        peer_server = await self._start_peer_server()
        if self._web is not None and self._config.http_address is not None:
            await self._web.start(self._config.http_address, self._config.tls)
        log.info("node started", extra={"event": "node_started", "node_id": self._config.node_id})
        if self._replica.members.get(self._config.node_id) is None:
            log.info("waiting to be added to the cluster", extra={"event": "waiting_to_join"})
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._links.run(), name="links"),
                    tasks.create_task(self._sharing.run(), name="sharing"),
                    tasks.create_task(self._keeper.run(), name="leases"),
                    tasks.create_task(self._payload_keeper.run(), name="payloads"),
                    tasks.create_task(self._retention_keeper.run(), name="retention"),
                    tasks.create_task(self._checkpoints(), name="checkpoints"),
                    tasks.create_task(self._look_around(), name="look around"),
                    tasks.create_task(self._catch_up.run(), name="catch up"),
                    tasks.create_task(self._until_fatal(), name="until fatal"),
                ]
                consensus = tasks.create_task(self._runner.run(self), name="consensus")
                await self._stopping_or(consensus)
                await self._hand_over()
                await self._close_clients()
                self._runner.stop()
                await consensus
                for task in running:
                    task.cancel()
        except* ReplicaDivergedError as group:
            self._quarantine(group)
            check_not_quarantined(self._config.data_folder)  # raises what each later start raises
        finally:
            self._peers.close()
            self._sharing.exchange.close()
            self._snapshots.close()
            await peer_server.stop(None)
            await self._stop_web()
            await self._clients.stop(0)
            log.info("node stopped", extra={"event": "node_stopped", "node_id": self._config.node_id})

    async def _stopping_or(self, consensus: asyncio.Task[None]) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((stopping, consensus), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    async def _hand_over(self) -> None:
        """Nobody shall have to find out by silence that this leader has gone."""
        if self._replica.kernel.is_leader and self._replica.can_hand_over:
            with contextlib.suppress(NoLeader):
                leader_id = await self._runner.hand_over(None, _HAND_OVER_S)
                log.info("handed over", extra={"event": "handed_over", "leader_id": leader_id})

    def _quarantine(self, group: BaseExceptionGroup[ReplicaDivergedError]) -> None:
        error = first_error(group)
        index = error.index if isinstance(error, ReplicaDivergedError) else 0
        quarantine(self._config.data_folder, str(error), index)

    def _look_if_removed(self, _peer_id: str) -> None:
        """Called each time that a peer says so; a majority must.

        A node that never heard of a leader has yet to join: it waits, though one of its name may have been removed.
        """
        if self._replica.kernel.term == 0:
            return
        others = self._replica.members.without(self._config.node_id)
        if others.is_majority(self._links.removed_by):
            node_id, config = self._config.node_id, self._config
            self._fail(
                Removed(
                    f"node {node_id} is no member of cluster {config.cluster_id} any more. To bring it back: remove"
                    f" {config.data_folder}, run `tallystick member add {node_id} ...`, and start it with --join"
                )
            )

    def _fail(self, error: StorageError) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(error)

    async def _until_fatal(self) -> None:
        await asyncio.shield(self._fatal)

    async def _close_clients(self) -> None:
        self._feed.close()
        self._sharing.stop_streams()
        await self._stop_web()
        await self._clients.stop(_GRACE_S)

    async def _stop_web(self) -> None:
        if self._web is not None:
            await self._web.stop()

    async def _start_peer_server(self) -> grpc.aio.Server:
        server = self._host.make_server(SERVER_OPTIONS)
        self._peers.add_to(server)
        self._snapshots.add_to(server)
        self._sharing.exchange.add_to(server)
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
        """Links to those who are of the cluster, and hears them."""
        self._roster.update(members)

    def _publish(self, events: Sequence[Event], position: int) -> None:
        self._feed.publish(events, position)
        if not events:  # a snapshot took the place of what was applied
            self._keeper.forget()
        self._contexts.heard(events)

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

    def _is_serving(self) -> bool:
        return self._status.has_leader and self._replica.may_be_read

    async def _look_around(self) -> None:
        """Refuses writes before the disk is full, and tells health checks whether there is a leader."""
        while True:
            free_bytes = self._host.files.free_bytes(self._config.data_folder)
            self._replica.accepts_writes = free_bytes >= self._config.disk_reserve_bytes
            await self._clients.set_serving(self._is_serving())
            await asyncio.sleep(_LOOK_EVERY_S)


async def serve(config: NodeConfig) -> None:
    """Runs a node until SIGTERM or SIGINT.

    Raises:
        StorageError: the data folder is another node's, in use, or damaged; the sentence says which and what to do.
        PortInUse: another process listens on one of the addresses.
    """
    for address in (config.client_address, config.peer_address, config.http_address):
        if address is not None:
            await wait_for_port(address)
    async with open_node(config, RealHost()) as node:
        try:
            with _stopped_by_signals(node):
                await node.run()
        except BaseExceptionGroup as group:  # one task failed and took the others along: its error is the one to tell
            first = first_error(group)
            log.critical("node failed", extra={"event": "node_failed", "why": f"{type(first).__name__}: {first}"})
            raise first from group


@contextlib.contextmanager
def _stopped_by_signals(node: Node) -> Iterator[None]:
    """SIGTERM and SIGINT stop the node, once; from the end of this on they are ignored until the process is gone.

    Not by `loop.add_signal_handler`: closing the loop gives a signal its default back, and a second SIGTERM between
    that and the exit would end a node that stopped cleanly as if it had been killed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(node.stop))
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


def tuning_of(config: NodeConfig) -> Tuning:
    """What the configuration says of consensus."""
    return Tuning(
        heartbeat_s=config.heartbeat_s,
        election_min_s=config.election_timeout_min_s,
        election_max_s=config.election_timeout_max_s,
        journal_kept_bytes=config.journal_kept_bytes,
    )


def _first_members(config: NodeConfig) -> Members:
    """Those that the cluster began with, all of them voters; a node that joins is none of them."""
    return Members.of(
        Member(member.node_id, member.client_endpoint, member.peer_endpoint)
        for member in config.members
        if not (config.join and member.node_id == config.node_id)
    )


@contextlib.asynccontextmanager
async def open_node(config: NodeConfig, host: Host, tuning: Tuning | None = None) -> AsyncIterator[Node]:
    """A node on its data folder, to be run; leaving closes what it has open.

    Args:
        tuning: of consensus, in place of what the configuration says.

    Raises:
        StorageError: the data folder is another node's, in use, or damaged; the sentence says which and what to do.
    """
    with open_data(config, host) as data:
        yield Node(config, host, tuning or tuning_of(config), data.identity, data.journal, data.database)
        with contextlib.suppress(DiskFull):
            await asyncio.to_thread(data.database.checkpoint)


def _peer_tls(tls: TLSConfig | None) -> PeerCredentials | None:
    if tls is None:
        return None
    return peer_credentials(tls.peer_ca.read_bytes(), tls.peer_cert.read_bytes(), tls.peer_key.read_bytes())


def _client_tls(tls: TLSConfig | None) -> ServerTLS | None:
    if tls is None:
        return None
    return ServerTLS(tls.ca.read_bytes(), tls.cert.read_bytes(), tls.key.read_bytes())
