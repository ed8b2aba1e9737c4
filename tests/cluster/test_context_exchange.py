"""Contexts between real nodes: pushed, acknowledged by a quorum, equal again after whatever was cut."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import grpc
import pycrdt
import pytest
import pytest_asyncio

from tallystick import Reason
from tallystick.v1 import context_pb2
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import refusal
from tests.cluster.harness_replicas import (
    DEADLINE_S,
    LOCAL,
    QUORUM,
    Document,
    all_equal,
    content,
    contexts,
    ref,
    replica,
    share,
    verify,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("exchange"), proxied=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> Cluster:
    return await running.begin()


def put(key: str, value: object) -> Callable[[Document], object]:
    """An edit of the map of the tests."""
    return lambda doc: tasks(doc).update({key: value})


def drop(key: str) -> Callable[[Document], object]:
    """One that deletes, and nothing else."""
    return lambda doc: tasks(doc).pop(key)


def tasks(doc: Document) -> pycrdt.Map[object]:
    """That map."""
    return cast("pycrdt.Map[object]", doc.get("tasks", type=pycrdt.Map))


async def test_an_edit_is_seen_on_other_nodes_and_acknowledged_by_a_majority(cluster: Cluster) -> None:
    await share(cluster, "edited")
    async with replica(cluster, "a", "edited") as at_a, replica(cluster, "b", "edited") as at_b:
        for number in range(50):
            at_a.edit(put(f"a{number}", number))
            at_b.edit(put(f"b{number}", number))
        await at_b.acked(50, LOCAL)
        cursor = await at_a.acked(50, QUORUM)
        read = await content(cluster, "c", "edited", cursor)  # another node has at least what the cursor says
        assert isinstance(read, dict)
        assert {f"a{number}" for number in range(50)} <= read["tasks"].keys()
        await at_b.acked(50, QUORUM)
        await at_b.until(lambda: len(tasks(at_b.doc)) == 100)
        await at_a.until(lambda: len(tasks(at_a.doc)) == 100)
        assert at_a.refused == at_b.refused == {}
        await all_equal(cluster, "c")
        assert await verify(cluster, "b", "edited", deep=True)


async def test_after_a_partition_all_become_equal_where_one_side_only_deleted_too(cluster: Cluster) -> None:
    await share(cluster, "parted", "deleted", "idle")
    async with replica(cluster, "a", "deleted") as first:
        await first.acked(first.edit(lambda doc: tasks(doc).update({"t1": 1, "t2": 2})), QUORUM)
        await all_equal(cluster, "a")
        async with (
            replica(cluster, "a", "parted") as at_a,
            replica(cluster, "b", "parted") as at_b,
            replica(cluster, "a", "deleted") as deleting,
        ):
            cluster.isolate("a")
            alone = at_a.edit(put("of a", 1))
            others = at_b.edit(put("of b", 2))
            gone = deleting.edit(drop("t1"))
            await at_a.acked(alone, LOCAL)
            await deleting.acked(gone, LOCAL)
            await at_b.acked(others, QUORUM)
            assert not await verify(cluster, "b")
            assert at_a.reached[QUORUM] == deleting.reached[QUORUM] == 0
            cluster.heal()
            await at_a.acked(alone, QUORUM)
            await deleting.acked(gone, QUORUM)
            for node_id in cluster.node_ids:
                await all_equal(cluster, node_id)
                assert await content(cluster, node_id, "parted") == {"tasks": {"of a": 1, "of b": 2}}
                assert await content(cluster, node_id, "deleted") == {"tasks": {"t2": 2}}


async def test_nodes_that_were_down_or_heard_in_one_direction_only_catch_up(cluster: Cluster) -> None:
    await share(cluster, "late")
    async with replica(cluster, "a", "late") as at_a:
        await at_a.acked(at_a.edit(put("before", 0)), QUORUM)
        cluster.kill("c")
        shutil.rmtree(cluster.nodes["c"].plan.data_folder / "contexts")  # its documents are lost, its log is not
        cluster.cut("a", "b")
        meanwhile = at_a.edit(put("meanwhile", 1))
        await at_a.acked(meanwhile, LOCAL)
        cluster.heal()
        await at_a.acked(meanwhile, QUORUM)
        async with contexts(cluster, "b") as stub:  # not all voters are there
            compacted = stub.CompactContext(context_pb2.CompactContextRequest(context=ref("late")), timeout=DEADLINE_S)
            assert await refusal(compacted) == (grpc.StatusCode.UNAVAILABLE, Reason.BEHIND)
        large = at_a.edit(put("large", "x" * 700_000))  # more than a part of a diff
        await at_a.acked(large, QUORUM)
        await cluster.start("c")
        await all_equal(cluster, "c")
        read = await content(cluster, "c", "late")
        assert isinstance(read, dict)
        assert read["tasks"].keys() == {"before", "meanwhile", "large"}


async def test_a_worker_that_is_killed_while_edits_come_in_from_others_loses_none(cluster: Cluster) -> None:
    await share(cluster, "killed")
    async with replica(cluster, "a", "killed") as at_a:
        last = 0
        for number in range(300):
            last = at_a.edit(put(f"t{number}", number))
            if number % 100 == 50:
                await at_a.acked(number // 2, LOCAL)
                kill_worker(cluster, "b")
                kill_worker(cluster, "c")
        await at_a.acked(last, QUORUM)
        await all_equal(cluster, "a")
        assert await content(cluster, "b", "killed") == {"tasks": {f"t{number}": number for number in range(300)}}


def kill_worker(cluster: Cluster, node_id: str) -> None:
    """SIGKILL to the worker of a node, if it has one at the moment."""
    pid = cluster.nodes[node_id].pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


async def test_a_document_begins_a_new_epoch_everywhere(cluster: Cluster) -> None:
    await share(cluster, "renewed")
    async with replica(cluster, "a", "renewed") as at_a:
        for number in range(20):
            at_a.edit(put("t", number))
        await at_a.acked(20, QUORUM)
    async with contexts(cluster, "b") as stub:
        done = await stub.CompactContext(context_pb2.CompactContextRequest(context=ref("renewed")), timeout=DEADLINE_S)
    assert done.info.epoch == 2
    assert not done.info.is_sealed
    await all_equal(cluster, "c")
    for node_id in cluster.node_ids:
        assert await content(cluster, node_id, "renewed") == {"tasks": {"t": 19}}
