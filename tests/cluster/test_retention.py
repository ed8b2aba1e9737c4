"""Retention on real nodes that archive to a store over HTTP: the leader is killed in the middle of it.

What needs no processes is in `tests/sim_cluster/test_retention_runs.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from click.testing import CliRunner
from moto.server import ThreadedMotoServer

from tallystick import Mutation, RetentionPolicy, TallystickError, ops
from tallystick.history import ExportReader
from tallystick.history.export_format import ExportedBase, ExportedCheckpoint
from tallystick.testing.local_wait import eventually
from tallystick_node.cli import main
from tests.cluster.harness import Cluster

AGENTS: Final = 12
MUTATIONS: Final = 20
KEPT: Final = 5
WAIT_S: Final = 60.0
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket(endpoint).create_bucket(Bucket="kept")
    yield endpoint
    server.stop()


def bucket(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


def stored(endpoint: str, folder: Path) -> list[Path]:
    """The files of the archive, fetched."""
    client = bucket(endpoint)
    files = []
    for each in client.list_objects_v2(Bucket="kept").get("Contents", ()):
        file = folder / each["Key"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(client.get_object(Bucket="kept", Key=each["Key"])["Body"].read())
        files.append(file)
    return files


def hashes(files: list[Path]) -> dict[str, dict[int, bytes]]:
    """Of the mutations in the files, by agent and seq."""
    found: dict[str, dict[int, bytes]] = {}
    for file in files:
        with gzip.open(file) as lines:
            reader = ExportReader(lines)
            for record in reader:
                if not isinstance(record, (ExportedBase, ExportedCheckpoint)):
                    of_agent = found.setdefault(str(reader.head["agent"]), {})
                    assert of_agent.setdefault(record.seq, record.hash) == record.hash
    return found


@contextlib.asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[asyncio.Task[None]]:
    """Asks for a run until one comes to its end."""

    async def run() -> None:
        async with cluster.connect() as client:
            while True:
                with contextlib.suppress(TallystickError):
                    if not [done async for done in client.retention.run() if done.failure]:
                        return

    task = asyncio.create_task(run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_what_goes_is_in_the_store_though_the_leader_is_killed_meanwhile(tmp_path: Path, store: str) -> None:
    async def has_begun() -> bool:
        return bool(await asyncio.to_thread(stored, store, tmp_path / "begun"))

    flags = ("--archive", f"far=s3://kept?endpoint={store}&region=us-east-1")
    async with Cluster(tmp_path, flags=flags, environment=CREDENTIALS, contexts=False) as cluster:
        async with asyncio.timeout(WAIT_S), cluster.connect() as client:
            names = [f"agent-{number:02}" for number in range(AGENTS)]
            for name in names:
                agent = client.agent(name)
                await agent.append_many([Mutation.of(ops.increment("/n")) for _ in range(MUTATIONS)])
            whole = {name: {m.seq: m.hash async for m in client.agent(name).log(raw=True)} for name in names}
            await client.retention.set(RetentionPolicy(max_mutations=KEPT, archive="far"))
            leader = await cluster.wait_for_leader()
            async with running(cluster) as run:
                await eventually(has_begun, within_s=WAIT_S, what="the archive has a file")
                cluster.kill(leader)
                await run
            await cluster.start(leader)
            await cluster.wait_equal()
            kept = {name: {m.seq: m.hash async for m in client.agent(name).log(raw=True)} for name in names}
            states = [(await client.agent(name).rehydrate()).state for name in names]
        files = await asyncio.to_thread(stored, store, tmp_path / "archive")
    archived = hashes(files)
    assert [len(each) for each in kept.values()] == [KEPT] * AGENTS and states == [{"n": MUTATIONS}] * AGENTS
    assert {name: {**archived[name], **kept[name]} for name in names} == whole
    result = CliRunner().invoke(main, ["verify", "export", *map(str, files)])
    assert result.exit_code == 0, result.output
