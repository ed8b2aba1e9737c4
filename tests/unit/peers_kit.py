"""What the tests of links share: a receiver that records, a node with a real server and real links, a relay to cut."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tallystick.peer.v1.peer_pb2 import AppendEntries, LogEntry, RaftMessage, VoteReply
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.links import PeerLinks
from tallystick_node.peers.options import SERVER_OPTIONS
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.snapshot_server import SnapshotServer
from tallystick_node.peers.snapshot_source import SnapshotSource
from tallystick_node.peers.tls import PeerCredentials

DEADLINE_S = 20.0
CLUSTER_ID = "cluster-1"


def numbered(number: int) -> RaftMessage:
    """A small message that can be told from others."""
    return RaftMessage(term=number, vote_reply=VoteReply())


def sized(number: int, size_bytes: int) -> RaftMessage:
    """A message that carries about this many bytes."""
    entries = [LogEntry(index=1, term=1, data=bytes(size_bytes))]
    return RaftMessage(term=number, append_entries=AppendEntries(entries=entries))


@dataclass
class Recorder:
    """A receiver that keeps what it hears."""

    received: dict[str, list[int]] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def peer_connected(self, peer_id: str) -> None:
        self.changes.append(("up", peer_id))
        self._heard.set()

    def peer_disconnected(self, peer_id: str) -> None:
        self.changes.append(("down", peer_id))
        self._heard.set()

    def removed_by(self, peer_id: str) -> None:
        self.changes.append(("removed", peer_id))
        self._heard.set()

    def receive(self, peer_id: str, message: RaftMessage) -> None:
        self.received.setdefault(peer_id, []).append(message.term)
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, looking whenever something was heard."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    async def up(self, peer_id: str, times: int = 1) -> None:
        """Wait until the link to this peer has come up so many times."""
        await self.until(lambda: self.changes.count(("up", peer_id)) >= times)

    async def down(self, peer_id: str, times: int = 1) -> None:
        """Wait until the link to this peer has gone down so many times."""
        await self.until(lambda: self.changes.count(("down", peer_id)) >= times)

    async def got(self, peer_id: str, count: int) -> list[int]:
        """Wait for so many messages of this peer and return all."""
        await self.until(lambda: len(self.received.get(peer_id, ())) >= count)
        return self.received.get(peer_id, [])


@dataclass
class Incoming:
    """The server side of a node."""

    servicer: PeerServicer
    recorder: Recorder
    port: int
    snapshots: SnapshotServer | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"


def local(node_id: str, incarnation: int = 1, data_id: str = "first") -> LocalNode:
    """A node of the cluster of the tests."""
    return LocalNode(CLUSTER_ID, node_id, incarnation, data_id)


@asynccontextmanager
async def serving(
    node_id: str,
    recorder: Recorder | None = None,
    *,
    port: int = 0,
    credentials: PeerCredentials | None = None,
    member_ids: tuple[str, ...] = ("a", "b", "c"),
    source: SnapshotSource | None = None,
    stall_s: float = DEADLINE_S,
    copy_s: float = DEADLINE_S,
) -> AsyncIterator[Incoming]:
    """A node's incoming side on a loopback port; with a source it gives snapshots."""
    recorder = recorder or Recorder()
    servicer = PeerServicer(local(node_id), member_ids, recorder, require_certificate=credentials is not None)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    servicer.add_to(server)
    snapshots = SnapshotServer(servicer.admission, source, stall_s=stall_s, copy_s=copy_s) if source else None
    if snapshots is not None:
        snapshots.add_to(server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials.server) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield Incoming(servicer, recorder, bound, snapshots)
    finally:
        servicer.close()
        if snapshots is not None:
            snapshots.close()
        await server.stop(0)


@asynccontextmanager
async def linked(
    node: LocalNode,
    members: Mapping[str, str],
    recorder: Recorder,
    credentials: PeerCredentials | None = None,
) -> AsyncIterator[PeerLinks]:
    """A node's outgoing links. That this node is no longer a member is recorded as a change, `removed`."""
    links = PeerLinks(node, members, credentials, recorder, on_removed=recorder.removed_by)
    running = asyncio.create_task(links.run())
    try:
        yield links
    finally:
        running.cancel()
        await asyncio.wait({running})


class LogWatch(logging.Handler):
    """Keeps what links log, by message, so that a test can wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._logged = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._logged.set()

    async def until(self, message: str) -> dict[str, object]:
        """Wait for a record with this message; its fields."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for record in self.records:
                    if record.getMessage() == message:
                        return vars(record)
                self._logged.clear()
                await self._logged.wait()


@contextmanager
def watched_log() -> Iterator[LogWatch]:
    """Listen to the log of `peers`."""
    logger, watch = logging.getLogger("tallystick_node.peers"), LogWatch()
    logger.addHandler(watch)
    try:
        yield watch
    finally:
        logger.removeHandler(watch)


class Relay:
    """A TCP relay between a dialler and a server, which can be frozen: bytes stop, connections stay."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._flowing = asyncio.Event()
        self._flowing.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Relay; gives the endpoint to dial."""
        pipes: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            pipes.add(asyncio.create_task(self._pipe(reader, onward_writer)))
            pipes.add(asyncio.create_task(self._pipe(onward_reader, writer)))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Authority:
    """A CA that lives as long as a test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca of a test")])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.pem = certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, *dns_names: str) -> tuple[bytes, bytes]:
        """A certificate for these names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = self._builder(x509.Name([]), key).add_extension(names, critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key_pem

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
