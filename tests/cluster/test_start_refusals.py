"""What a node refuses to start on: one sentence, an exit code, no traceback, and nothing is lost by it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tallystick import Consistency, ops
from tallystick_node.cli.exits import ExitCode
from tests.cluster.harness import Cluster
from tests.cluster.harness_node import NodeProcess
from tests.cluster.harness_wait import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSAL_S: Final = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("refusals"), contexts=False) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> Cluster:
    """With something to lose, and node c stopped cleanly."""
    await running.begin()
    async with running.connect() as client:
        for n in range(20):
            await client.agent("x").append(ops.set("/n", n))
    await running.wait_equal()
    assert await running.stop("c") == 0
    return running


async def _refused(cluster: Cluster, node: NodeProcess, *, code: ExitCode, says: str) -> None:
    """It does not start, says why in one sentence (and one of advice), and the others do not care."""
    said_before = len(node.log_text())
    node.start()
    try:
        exit_code = await node.wait_exit(REFUSAL_S)
    finally:
        node.kill()
    said = node.log_text()[said_before:]
    assert exit_code == code, said
    sentences = [line for line in said.splitlines() if line.startswith("tallystick: ")]
    assert len(sentences) == 1 and says in sentences[0], said
    assert "Traceback" not in said
    async with cluster.connect(nodes=cluster.others("c")) as client:
        assert (await client.agent("x").read()).state == {"n": 19}


async def _starts_again(cluster: Cluster) -> None:
    await cluster.start("c")
    await cluster.wait_equal()
    async with cluster.connect(nodes=["c"], consistency=Consistency.LOCAL) as reader:
        assert (await reader.agent("x").read()).state == {"n": 19}


def _variant(cluster: Cluster, **changes: str | Path) -> NodeProcess:
    return NodeProcess(replace(cluster.nodes["c"].plan, **changes))  # type: ignore[arg-type]  # fields by name


async def test_a_port_in_use(cluster: Cluster) -> None:
    for address in (cluster.nodes["c"].plan.client_address, cluster.nodes["c"].plan.peer_address):
        host, _, port = address.rpartition(":")
        with socket.create_server((host, int(port))):
            await _refused(cluster, cluster.nodes["c"], code=ExitCode.UNAVAILABLE, says=address)
    await _starts_again(cluster)


async def test_the_folder_of_another_node_or_cluster(cluster: Cluster) -> None:
    plan = cluster.nodes["c"].plan
    b_folder = cluster.nodes["b"].plan.data_folder
    await _refused(cluster, _variant(cluster, data_folder=b_folder), code=ExitCode.UNAVAILABLE, says="in use")
    copied = plan.data_folder.with_name("copied")
    shutil.copytree(b_folder, copied)
    await _refused(cluster, _variant(cluster, data_folder=copied), code=ExitCode.REFUSED, says="belongs to node 'b'")
    other = _variant(cluster, cluster_id="other")
    await _refused(cluster, other, code=ExitCode.REFUSED, says="of cluster 'test'")
    (plan.data_folder / "identity.json").rename(plan.data_folder.with_name("identity.json"))
    await _refused(cluster, cluster.nodes["c"], code=ExitCode.REFUSED, says="identity.json")
    plan.data_folder.with_name("identity.json").rename(plan.data_folder / "identity.json")
    await _starts_again(cluster)


async def test_a_damaged_journal(cluster: Cluster) -> None:
    folder = cluster.nodes["c"].plan.data_folder
    segment = sorted((folder / "journal").iterdir())[0]
    whole = segment.read_bytes()
    for place in (40, len(whole) // 2):
        segment.write_bytes(whole[:place] + bytes((whole[place] ^ 0x40,)) + whole[place + 1 :])
        await _refused(cluster, cluster.nodes["c"], code=ExitCode.CORRUPT, says=f"{segment} is damaged at byte")
    segment.write_bytes(whole)
    await _starts_again(cluster)


async def test_a_state_that_is_newer_than_its_journal(cluster: Cluster) -> None:
    folder = cluster.nodes["c"].plan.data_folder
    (folder / "journal").rename(folder.parent / "journal-away")
    await _refused(cluster, cluster.nodes["c"], code=ExitCode.REFUSED, says="the state has applied entry")
    shutil.rmtree(folder / "journal", ignore_errors=True)
    (folder.parent / "journal-away").rename(folder / "journal")
    await _starts_again(cluster)


async def test_a_state_of_a_newer_format(cluster: Cluster) -> None:
    state = cluster.nodes["c"].plan.data_folder / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as db:
        (known,) = db.execute("PRAGMA user_version").fetchone()
        db.execute("PRAGMA user_version = 99")
    await _refused(cluster, cluster.nodes["c"], code=ExitCode.REFUSED, says="format 99")
    with contextlib.closing(sqlite3.connect(state)) as db:
        db.execute(f"PRAGMA user_version = {known}")
    await _starts_again(cluster)


async def test_an_empty_folder_of_another_cluster_joins_nobody(cluster: Cluster) -> None:
    stranger = _variant(cluster, cluster_id="other", data_folder=cluster.folder / "stranger")
    await cluster.wait_for_leader(among=cluster.others("c"))  # c may have led when it was stopped
    before = await cluster.statuses(cluster.others("c"))
    stranger.start()
    try:

        async def refused_by_both() -> bool:
            return stranger.log_text().count("This node is of cluster test") >= 1

        async def has_no_leader() -> bool:
            status = await cluster.status("c")
            return status is not None and not status.leader_id and not any(m.connected for m in status.members[:2])

        await eventually(has_no_leader, within_s=REFUSAL_S, what="the stranger runs without a leader")
        await eventually(refused_by_both, within_s=REFUSAL_S, what="the stranger says why nobody talks to it")
    finally:
        stranger.kill()
    after = await cluster.statuses(cluster.others("c"))
    assert {status.term for status in after} == {status.term for status in before}
    await _starts_again(cluster)
