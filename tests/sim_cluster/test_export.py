"""A log in a file: it verifies without a node, and no byte of it can be changed unseen."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick import Corrupt, NotFound, ops
from tallystick.history import Chain, ExportReader, Signature, export
from tallystick.history.export_format import ExportedCheckpoint
from tallystick.testing import SimCluster
from tallystick_node.cli import keys
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.retention.archive_file import ArchivePart, lines

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(message: bytes) -> Signature:
    return Signature(PUBLIC, KEY.sign(message))


def test_an_archive_of_the_whole_log_is_its_export() -> None:
    """The node writes archives, the client exports, and neither has the other's code."""

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("ann")
            await agent.append(ops.set("/a", 1), cause="é")
            await agent.checkpoint("one", step=3, metadata={"x": [1.5]}, pending_calls=[{"id": 1}])
            await agent.append(ops.increment("/a"))
            written = [line async for line in export(agent)]
            target = Target(agent.namespace, "ann", "main")
            mutations = [
                MutationDecided(0, target, m.seq, m.time_unix_ms, m.actor, m.hash, m.raw)
                async for m in agent.log(raw=True)
            ]
            checkpoints = [
                CheckpointTaken(
                    0,
                    target,
                    c.seq,
                    c.time_unix_ms,
                    c.actor,
                    c.hash,
                    c.name,
                    c.step,
                    orjson.dumps(c.metadata),
                    orjson.dumps(c.pending_calls),
                    c.state_digest,
                )
                async for c in agent.checkpoints()
            ]
            assert list(lines(ArchivePart(target, 0, b"", b"{}", mutations, checkpoints))) == written

    with SimCluster(nodes=1, seed=1) as cluster:
        cluster.run(scenario)


@pytest.fixture(scope="module")
def exported() -> list[bytes]:
    async def scenario(cluster: SimCluster) -> list[bytes]:
        async with cluster.connect() as client:
            agent = client.agent("ann")
            with pytest.raises(NotFound):
                await anext(export(agent))
            await agent.append(ops.set("/a", 1), cause="é")
            await agent.checkpoint("one", metadata={"x": [1]})
            await agent.checkpoint("one-again")
            await agent.record("note", {"n": 1})
            await agent.append(ops.increment("/a"))
            await agent.checkpoint("two")
            await agent.append(ops.delete("/a"))
            return [line async for line in export(agent, sign=sign)]

    with SimCluster(nodes=3, seed=1) as cluster:
        return cluster.run(scenario)


def verified(lines: list[bytes]) -> bytes | None:
    """Who signed an export that is whole."""
    reader = ExportReader(lines)
    for _ in reader:
        pass
    assert reader.end is not None
    return keys.signer(reader.end)


def test_it_holds_the_log_and_its_checkpoints_and_who_signed(exported: list[bytes]) -> None:
    reader = ExportReader(exported)
    records = list(reader)
    told = [each.name if isinstance(each, ExportedCheckpoint) else each.seq for each in records]
    assert told == [1, "one", "one-again", 2, 3, "two", 4]
    assert reader.head["agent"] == "ann" and reader.head["branch"] == "main"
    assert reader.end is not None and (reader.end.mutations, reader.end.checkpoints) == (4, 3)
    assert verified(exported) == PUBLIC


def test_no_byte_can_be_changed_unseen(exported: list[bytes]) -> None:
    whole = b"".join(exported)
    for at in range(len(whole)):
        for mask in (0x01, 0x20):
            bent = bytearray(whole)
            bent[at] ^= mask
            with pytest.raises(Corrupt):
                verified(bytes(bent).splitlines(keepends=True))


def test_no_line_can_be_taken_out_doubled_or_cut_off(exported: list[bytes]) -> None:
    for at in range(len(exported)):
        for bent in (exported[:at] + exported[at + 1 :], exported[: at + 1] + exported[at:], exported[:at]):
            with pytest.raises(Corrupt):
                verified(bent)


def test_what_is_made_anew_is_chained_but_not_signed(exported: list[bytes]) -> None:
    """Whoever rewrites the log with all its hashes can make a whole file: only the signature tells."""
    end = json.loads(exported[-1])
    del end["end"]["signature"], end["end"]["public_key"]
    assert verified([*exported[:-1], json.dumps(end).encode() + b"\n"]) is None
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    end["end"]["public_key"] = base64.b64encode(PUBLIC).decode()
    end["end"]["signature"] = base64.b64encode(other.sign(b"")).decode()
    with pytest.raises(Corrupt, match="signature"):
        verified([*exported[:-1], json.dumps(end).encode() + b"\n"])


def test_a_chain_says_where_it_breaks() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("ann")
            for n in range(5):
                await agent.append(ops.set("/n", n))
            log = [mutation async for mutation in agent.log(raw=True)]
            kept = await agent.state_digest()
        chain = Chain()
        for mutation in log:
            chain.follow(mutation)
        assert (chain.seq, chain.head) == (5, kept.hash)
        halfway = Chain(seq=3, head=log[2].hash)
        halfway.follow(log[3])
        with pytest.raises(Corrupt) as broken:
            halfway.follow(log[3])
        assert broken.value.metadata["seq"] == "4"

    with SimCluster(nodes=3, seed=2) as cluster:
        cluster.run(scenario)
