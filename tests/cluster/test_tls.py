"""TLS everywhere, with the certificates of `tallystick certs`: who has none, or another's, gets nowhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
import pytest
import pytest_asyncio

import tallystick
from tallystick import TLS, Consistency, Unavailable, ops
from tallystick.peer.v1 import peer_pb2
from tests.cluster.harness import Cluster, client_tls
from tests.cluster.harness_grpc import DEADLINE_S, raw_channel, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK: Final = "/tallystick.peer.v1.PeerService/Link"


def _make_certs(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "tallystick_node.cli",
        "certs",
        str(folder),
        "--client",
        "client",
        "--client",
        "ann",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the cluster."""
    return _make_certs(tmp_path_factory.mktemp("certs") / "ours")


@pytest.fixture(scope="module")
def foreign_certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same names, signed by another CA."""
    return _make_certs(tmp_path_factory.mktemp("certs") / "theirs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("tls"), certs=certs) as running:
        yield running


def _credentials(ca: Path, certs: Path, stem: str) -> grpc.ChannelCredentials:
    key, cert = certs / f"{stem}-key.pem", certs / f"{stem}.pem"
    return grpc.ssl_channel_credentials((ca / "ca.pem").read_bytes(), key.read_bytes(), cert.read_bytes())


async def test_every_node_takes_writes_and_the_actor_is_who_the_certificate_says(cluster: Cluster) -> None:
    for node_id in cluster.node_ids:
        async with cluster.connect(nodes=[node_id], client_cert="ann", actor="somebody else") as client:
            agent = client.agent(f"by-{node_id}")
            await agent.append(ops.set("/n", 1))
            taken = await agent.checkpoint("c")
            assert [mutation.actor async for mutation in agent.log()] == ["ann"]
            assert taken.actor == "ann"
    await cluster.wait_equal()


async def test_clients_without_our_certificate_are_refused(cluster: Cluster, certs: Path, foreign_certs: Path) -> None:
    no_tls = None
    no_certificate = TLS(certs / "ca.pem")
    foreign = TLS(certs / "ca.pem", foreign_certs / "client-client.pem", foreign_certs / "client-client-key.pem")
    wrong_ca = client_tls(foreign_certs, "client")
    for tls in (no_tls, no_certificate, foreign, wrong_ca):
        client = tallystick.connect(cluster.endpoint("a"), namespace="demo", tls=tls, timeout_s=1.0)
        async with client:
            with pytest.raises(Unavailable):
                await client.agent("x").append(ops.set("/n", 1))
            with pytest.raises(Unavailable):
                await client.agent("x").read(consistency=Consistency.LOCAL)
    async with cluster.connect() as client:
        assert [info.name async for info in client.agents(prefix="x")] == []


async def test_nobody_but_a_node_speaks_to_a_node(cluster: Cluster, certs: Path, foreign_certs: Path) -> None:
    leader = await cluster.wait_for_leader()
    other, third = cluster.others(leader)
    before = await cluster.wait_equal()
    forged = peer_pb2.Frame(
        messages=[peer_pb2.RaftMessage(term=10**6, append_entries=peer_pb2.AppendEntries(commit_index=10**6))]
    ).SerializeToString()
    denied = (grpc.StatusCode.PERMISSION_DENIED, "DENIED")
    unreached = (grpc.StatusCode.UNAVAILABLE, "")
    for credentials, expected in (
        (_credentials(certs, certs, "client-ann"), denied),
        (_credentials(certs, certs, f"node-{third}"), denied),  # a node's, but not that node's
        (_credentials(certs, foreign_certs, f"node-{leader}"), unreached),
        (grpc.ssl_channel_credentials((certs / "ca.pem").read_bytes()), unreached),
        (None, unreached),
    ):
        async with raw_channel(cluster.nodes[other].plan.peer_address, credentials) as channel:
            link: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(LINK, None, None)
            metadata = (
                ("tallystick-cluster-id", "test"),
                ("tallystick-node-id", leader),
                ("tallystick-incarnation", "1000"),
                ("tallystick-peer-version", "1.0"),
            )
            call = link(iter([forged]), metadata=metadata, timeout=DEADLINE_S)
            assert await refusal(anext(aiter(call))) == expected
    after = await cluster.wait_equal()
    assert (after.term, after.leader_id, after.state_digest) == (before.term, before.leader_id, before.state_digest)
