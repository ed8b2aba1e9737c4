"""A full disk: writes are refused, reads served; space brings writes back by itself; nothing acknowledged is lost.

Each node's data folder is a small tmpfs of its own, filled up by a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tallystick import Client, Consistency, Mutation, Overloaded, Reason, TallystickError, Unavailable, Undecided, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_disk import fill, free, small_disk
from tests.cluster.harness_wait import eventually

pytestmark = [pytest.mark.root]

DISK_BYTES: Final = 24 << 20
RESERVE_BYTES: Final = 4 << 20
NOTICE_S: Final = 20.0
NODES: Final = ("a", "b", "c")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Mapping[str, Path]]:
    """A mounted tmpfs for each node."""
    with contextlib.ExitStack() as mounted:
        yield {n: mounted.enter_context(small_disk(tmp_path / f"disk-{n}", DISK_BYTES)) for n in NODES}


async def _alarmed(cluster: Cluster, *node_ids: str) -> bool:
    statuses = [await cluster.status(node_id) for node_id in node_ids]
    return all(status is not None and Reason.DISK_FULL in status.alarms for status in statuses)


async def _written(client: Client, number: int) -> bool:
    """One write of a known number; whether it was acknowledged."""
    try:
        await client.agent("x").append(ops.append("/numbers", number), idempotency_key=f"n{number}", timeout_s=3.0)
    except (Unavailable, Undecided):  # no room, or, where nobody has any, nobody to lead
        return False
    return True


async def test_writes_are_refused_before_the_disk_is_full_and_come_back(
    tmp_path: Path, disks: Mapping[str, Path]
) -> None:
    flags = [f"--disk-reserve-bytes={RESERVE_BYTES}", "--journal-segment-bytes=1048576"]
    async with (
        Cluster(tmp_path, contexts=False, data_folders=disks, flags=flags) as cluster,
        cluster.connect() as client,
    ):
        await client.agent("x").append(ops.set("/n", 1))
        for node_id in NODES:
            fill(disks[node_id], RESERVE_BYTES // 2)
        await eventually(lambda: _alarmed(cluster, *NODES), within_s=NOTICE_S, what="all nodes raise the alarm")
        before = await cluster.wait_equal()
        for node_id in NODES:
            async with cluster.connect(nodes=[node_id], timeout_s=1.0) as there:
                with pytest.raises(Overloaded) as refused:
                    await there.agent("x").append(ops.set("/n", 2))
                assert refused.value.reason is Reason.DISK_FULL
                for consistency in Consistency:
                    read = await there.agent("x").read(consistency=consistency, timeout_s=NOTICE_S)
                    assert read.state == {"n": 1}
        assert (await cluster.wait_equal()).state_digest == before.state_digest
        for node_id in NODES:
            free(disks[node_id])
        await client.agent("x").append(ops.set("/n", 3), timeout_s=NOTICE_S)
        assert not await _alarmed(cluster, await cluster.wait_for_leader())
        await cluster.wait_equal()


@pytest.mark.parametrize(
    ("whose", "reserve_bytes"),
    [
        ("a follower", 0),
        ("a follower", RESERVE_BYTES),
        ("the leader", 0),
        ("the leader", RESERVE_BYTES),
    ],
)
async def test_one_full_disk_does_not_stop_the_cluster(
    tmp_path: Path, disks: Mapping[str, Path], whose: str, reserve_bytes: int
) -> None:
    flags = [f"--disk-reserve-bytes={reserve_bytes}", "--journal-segment-bytes=1048576"]
    async with (
        Cluster(tmp_path, contexts=False, data_folders=disks, flags=flags) as cluster,
        cluster.connect(timeout_s=10) as client,
    ):
        await client.agent("x").append(ops.set("/n", 0))
        leader = await cluster.wait_for_leader()
        full = leader if whose == "the leader" else cluster.others(leader)[0]
        fill(disks[full])
        for n in range(20):
            await client.agent("x").append(ops.set("/n", n), cause="c" * 1000)
        free(disks[full])
        await cluster.wait_equal()


@pytest.mark.long
async def test_no_room_at_all_and_kills_in_it_lose_nothing(tmp_path: Path, disks: Mapping[str, Path]) -> None:
    flags = ["--disk-reserve-bytes=0", "--journal-segment-bytes=1048576"]
    acknowledged: list[int] = []
    async with (
        Cluster(tmp_path, contexts=False, data_folders=disks, flags=flags) as cluster,
        cluster.connect() as client,
    ):
        number = 0
        for _ in range(2):
            for disk in disks.values():
                fill(disk, 200_000)
            while await _written(client, number):  # until the journals and the databases meet the end of the disk
                acknowledged.append(number)
                number += 1
                with contextlib.suppress(TallystickError):
                    await client.agent("bulk").append_many([Mutation.event("note", "x" * 20_000)], timeout_s=3.0)
            number += 1
            cluster.kill(*NODES)
            for disk in disks.values():
                free(disk)
            await cluster.start(*NODES)
            await cluster.wait_for_leader()
            for _ in range(5):
                assert await _written(client, number)
                acknowledged.append(number)
                number += 1
        await cluster.wait_equal()
        for node_id in NODES:
            async with cluster.connect(nodes=[node_id], consistency=Consistency.LOCAL) as reader:
                state = (await reader.agent("x").read()).state
                assert isinstance(state, dict) and isinstance(state["numbers"], list)
                assert [n for n in state["numbers"] if n in acknowledged] == acknowledged
                assert len(state["numbers"]) == len(set(map(str, state["numbers"])))
        for node_id in NODES:
            said = cluster.nodes[node_id].log_text()
            assert "disk full" in said, f"node {node_id} never met the end of its disk"
            assert "Traceback" not in said
    assert len(acknowledged) >= 12
