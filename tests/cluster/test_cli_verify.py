"""`tallystick verify` and `agent export` against real nodes and real files: what was changed is found and named."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tallystick import ops
from tallystick_node.cli import main
from tallystick_node.cli.exits import ExitCode
from tests.cluster.harness import Cluster
from tests.cluster.harness_snapshots import flip


async def tallystick_says(cluster: Cluster | None, *args: str) -> Result:
    """The command in this process, on a thread: its own loop runs beside ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    if cluster is not None:
        kept["TALLYSTICK_ENDPOINTS"] = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
        kept["TALLYSTICK_NAMESPACE"] = "demo"
    result = await asyncio.to_thread(CliRunner(env=kept).invoke, main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written_keys(folder: Path) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / "key.pem", folder / "key.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


async def test_an_export_verifies_offline_and_a_changed_byte_does_not(tmp_path: Path) -> None:
    private, public = written_keys(tmp_path)
    (tmp_path / "others").mkdir()
    _, stranger = written_keys(tmp_path / "others")
    file = tmp_path / "ann.tallylog"
    async with Cluster(tmp_path, node_ids=["a"], contexts=False) as cluster:
        async with cluster.connect() as client:
            agent = client.agent("ann")
            for n in range(20):
                await agent.append(ops.append("/log", n))
            await agent.checkpoint("twenty")
            await agent.append(ops.set("/done", n))
        made = await tallystick_says(cluster, "agent", "export", "ann", str(file), "--sign", str(private), "--json")
        assert made.exit_code == 0 and json.loads(made.stdout)["records"] == 22
        again = await tallystick_says(cluster, "agent", "export", "ann", str(file))
        assert again.exit_code == ExitCode.REFUSED and "--overwrite" in again.stderr
    whole = await tallystick_says(None, "verify", "export", str(file), "--public-key", str(public), "--json")
    told = json.loads(whole.stdout)
    assert (told["mutations"], told["states_checked"], told["signer_trusted"]) == (21, 1, True)
    not_theirs = await tallystick_says(None, "verify", "export", str(file), "--public-key", str(stranger))
    assert not_theirs.exit_code == ExitCode.CORRUPT and "not signed with that key" in not_theirs.stderr
    nothing = await tallystick_says(None, "verify", "export", str(private))
    assert nothing.exit_code == ExitCode.CORRUPT and str(private) in nothing.stderr and "node" not in nothing.stderr
    flip(file, b'"seq":7')
    bent = await tallystick_says(None, "verify", "export", str(file))
    assert bent.exit_code == ExitCode.CORRUPT and "line" in bent.stderr
    left_beside = await asyncio.to_thread(lambda: [path for path in tmp_path.iterdir() if "ann" in path.name])
    assert left_beside == [file]


async def test_an_altered_row_of_one_node_is_found_and_named(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        for name in ("ann", "bob"):
            for n in range(5):
                await client.agent(name).append(ops.set("/secret", f"{name} {n}"))
        await cluster.wait_equal()
        whole = await tallystick_says(cluster, "verify", "cluster", "--json")
        assert whole.exit_code == 0
        assert [json.loads(line) for line in whole.stdout.splitlines()] == [
            {"agent": name, "branch": "main", "seq": 5, "problems": []} for name in ("ann", "bob")
        ]
        bent_id = cluster.others(await cluster.wait_for_leader())[0]
        with closing(sqlite3.connect(tmp_path / bent_id / "state.db", timeout=30)) as bent, bent:
            changed = bent.execute("UPDATE events SET time_unix_ms = time_unix_ms + 1 WHERE seq = 3 AND log = 2")
            assert changed.rowcount == 1
        found = await tallystick_says(cluster, "verify", "cluster", "--timeout", "2")
        assert found.exit_code == ExitCode.CORRUPT, found.output
        [line] = [line for line in found.stdout.splitlines() if line.startswith("!")]
        assert cluster.endpoint(bent_id) in line and "bob" in line and "position 8" in line


async def test_a_stopped_nodes_folder_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    async with Cluster(tmp_path, node_ids=["a"], contexts=False) as cluster, cluster.connect() as client:
        for n in range(5):
            await client.agent("ann").append(ops.set("/secret", f"tally-ho {n}"))
        assert await cluster.stop("a") == 0
        folder = tmp_path / "a"
        before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        whole = await tallystick_says(None, "verify", "folder", str(folder))
        assert whole.exit_code == 0, whole.output
        assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
        [segment] = (folder / "journal").iterdir()
        for file in (segment, folder / "state.db"):
            kept = file.read_bytes()
            flip(file, b"tally-ho 2")
            found = await tallystick_says(None, "verify", "folder", str(folder))
            assert found.exit_code == ExitCode.CORRUPT, (file, found.output)
            assert str(folder) in found.stderr and "tallystick-verify-" not in found.stderr
            file.write_bytes(kept)
        nothing = await tallystick_says(None, "verify", "folder", str(tmp_path))
        assert nothing.exit_code == ExitCode.USAGE
