"""Contexts in simulated clusters: what was acknowledged is there, and all nodes become equal."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator

import pytest

from tallystick._json import JSON
from tallystick.contexts.context import Context
from tallystick.testing import SimCluster
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates import digest
from tallystick_node.contexts.updates.deletes import Deletes
from tallystick_node.contexts.updates.state_vectors import StateVector
from tallystick_node.sharing import DOCUMENTS_NAME
from tallystick_node.sim.editing import Edit, EditRecords, _of_content

EQUAL_S = 5.0


@contextlib.asynccontextmanager
async def at(cluster: SimCluster, node_id: str, name: str = "plan") -> AsyncIterator[Context]:
    """A replica at one node, which knows no other."""
    async with (
        cluster.connect("demo", nodes=[node_id], actor=f"at {node_id}") as client,
        client.context(name) as context,
    ):
        yield context


async def equal(cluster: SimCluster, wanted: dict[str, JSON]) -> None:
    """Waits until fresh replicas at all nodes hold this."""
    limit_s = cluster.now_s + EQUAL_S
    while True:
        contents = {}
        for node_id in cluster.node_ids:
            async with at(cluster, node_id) as context:
                contents[node_id] = context.to_json()
        if cluster.now_s > limit_s or all(content == wanted for content in contents.values()):
            assert contents == dict.fromkeys(cluster.node_ids, wanted)
            return
        await cluster.sleep(0.1)


def test_edits_on_both_sides_of_a_partition_meet() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with at(cluster, "a") as one, at(cluster, "b") as other:
            one.map("tasks")["first"] = 1
            await one.flush()
            cluster.partition(["a"], ["b", "c"])
            one.map("tasks")["mine"] = 1
            other.map("tasks")["yours"] = 2
            await one.flush(ack="local")
            await other.flush()
            cluster.kill("b")
            await cluster.start("b")
            cluster.heal()
            await one.flush()
            await equal(cluster, {"tasks": {"first": 1, "mine": 1, "yours": 2}})

    with SimCluster(nodes=3, seed=1, contexts=True) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_what_one_disk_has_survives_a_power_cut_of_all(seed: int) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with at(cluster, "a") as context:
            for number in range(10):
                context.list("log").append(number)
                await context.flush(ack="local")
            cluster.power_cut(*cluster.node_ids)
        await cluster.start(*cluster.node_ids)
        await equal(cluster, {"log": list(range(10))})

    with SimCluster(nodes=3, seed=seed, contexts=True) as cluster:
        cluster.run(scenario)


def digests(cluster: SimCluster, guid: bytes) -> set[bytes]:
    """Those that the nodes have of a document, each by itself."""
    question = worker_pb2.Request(describe=worker_pb2.Describe(id=ContextId(guid, 1).to_proto()))
    workers = [node.worker for node in cluster.nodes.values()]
    return {worker.look(question).described.digest for worker in workers if worker is not None}


def delete_apart(seed: int, digests_apart: int) -> None:
    """Deletes on one side of a partition, and heals it."""

    async def scenario(cluster: SimCluster) -> None:
        async with at(cluster, "a") as context:
            context.map("tasks").update({"t1": 1, "t2": 2})
            context.text("notes").append("all of it")
            await context.flush()
            await equal(cluster, {"tasks": {"t1": 1, "t2": 2}, "notes": "all of it"})
            assert len(digests(cluster, context.guid)) == 1
            cluster.partition(["a"], ["b", "c"])
            del context.map("tasks")["t1"]
            context.text("notes").delete(0, 7)
            await context.flush(ack="local")
            assert len(digests(cluster, context.guid)) == digests_apart
        cluster.power_cut("a")  # what it had to push is gone with it, as is the replica that would send it again
        await cluster.start("a")
        cluster.heal()
        await equal(cluster, {"tasks": {"t2": 2}, "notes": "it"})
        assert len(digests(cluster, context.guid)) == 1

    with SimCluster(nodes=3, seed=seed, contexts=True) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize("seed", range(4))
def test_a_partition_that_only_deletes_is_noticed(seed: int) -> None:
    delete_apart(seed, digests_apart=2)


def test_a_digest_without_what_is_deleted_notices_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digest.digest

    def blind(guid: bytes, epoch: int, vector: StateVector, _deletes: Deletes) -> bytes:
        return whole(guid, epoch, vector, {})

    monkeypatch.setattr(digest, "digest", blind)
    with pytest.raises(AssertionError, match="t1"):
        delete_apart(0, digests_apart=1)


def test_documents_of_an_old_disk_do_no_harm() -> None:
    async def scenario(cluster: SimCluster) -> None:
        folder = cluster.nodes["c"].config.data_folder / DOCUMENTS_NAME
        old = folder.with_name("old")
        async with at(cluster, "a") as context:
            context.list("log").append("old")
            await context.flush()
            await equal(cluster, {"log": ["old"]})
            await cluster.stop("c")
            shutil.copytree(folder, old)
            await cluster.start("c")
            async with at(cluster, "c") as there:
                there.list("log").append("at c")
                await there.flush()
            context.map("gone")["key"] = 1
            await context.flush()
            del context.map("gone")["key"]
            await context.flush()
            await equal(cluster, {"log": ["old", "at c"], "gone": {}})
            await cluster.stop("c")
            shutil.rmtree(folder)
            old.rename(folder)
            await cluster.start("c")
            async with at(cluster, "c") as there:
                there.list("log").append("anew")
                await there.flush()
            await equal(cluster, {"log": ["old", "at c", "anew"], "gone": {}})

    with SimCluster(nodes=3, seed=4, contexts=True) as cluster:
        cluster.run(scenario)


def test_a_worker_dies_alone_and_another_takes_its_place() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with at(cluster, "a") as context:
            context.list("log").append(1)
            await context.flush(ack="local")
            status = await cluster.status("a")
            cluster.kill_worker("a")
            context.list("log").append(2)
            await context.flush()
            cluster.stall_worker("a")  # for good: the node kills it, and starts another
            context.list("log").append(3)
            await context.flush()
        after = await cluster.status("a")
        assert status is not None
        assert after is not None
        assert (after.term, after.leader_id) == (status.term, status.leader_id)
        worker = cluster.nodes["a"].worker
        assert worker is not None
        assert not worker.stands
        await equal(cluster, {"log": [1, 2, 3]})

    with SimCluster(nodes=3, seed=6, contexts=True) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", ["rot", "lose"])
def test_documents_that_are_lost_come_from_the_peers(seed: int, loss: str) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with at(cluster, "a") as context:
            for number in range(5):
                context.list("log").append(number)
                context.map("tasks")[f"t{number}"] = "open"
                await context.flush()
            await equal(cluster, context.to_json())
            await cluster.stop("c")
            context.map("tasks")["t1"] = "done"
            await context.flush()
            assert cluster.rot_documents("c") if loss == "rot" else cluster.lose_documents("c")
            await cluster.start("c")
            await equal(cluster, context.to_json())

    with SimCluster(nodes=3, seed=seed, contexts=True) as cluster:
        cluster.run(scenario)


def test_a_document_comes_and_goes_while_a_node_is_away() -> None:
    async def scenario(cluster: SimCluster) -> None:
        cluster.partition(["c"], ["a", "b"])
        async with cluster.connect("demo", nodes=["a", "b"]) as client:
            async with client.context("short", seed={"tasks": {"t1": 1}}) as short:
                await client.delete_context("short", guid=short.guid)
            async with client.context("plan", seed={"tasks": {"t1": 1}}):
                pass
        cluster.heal()  # c applies all of it at once
        await cluster.wait_equal()
        await equal(cluster, {"tasks": {"t1": 1}})

    with SimCluster(nodes=3, seed=5, contexts=True) as cluster:
        cluster.run(scenario)


def test_a_desk_that_answers_before_it_commits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Rows.close

    def lost(rows: Rows) -> None:
        rows.roll_back()
        close(rows)

    monkeypatch.setattr(Rows, "commit", lambda _rows: None)
    monkeypatch.setattr(Rows, "close", lost)
    with pytest.raises(AssertionError, match="log"):
        test_what_one_disk_has_survives_a_power_cut_of_all(0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3"], "text": "e.4;e.5;", "counter": 1}, ""),
        ({"map": {}, "list": ["e.2", "e.3"], "text": "e.4;e.5;", "counter": 1}, "e.1.* is not there"),
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3", "e.3"], "text": "e.4;e.5;", "counter": 1}, "e.3.* 2 times"),
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3", "x.1"], "text": "e.4;e.5;", "counter": 1}, "x.1.* nobody made it"),
        ({"map": {"e.1": 1, "e.7": 7}, "list": ["e.2", "e.3"], "text": "e.4;e.5;", "counter": 1}, "e.7.* its end"),
        ({"map": {"e.1": 1}, "list": ["e.3", "e.2"], "text": "e.4;e.5;", "counter": 1}, "e.2 stands behind e.3"),
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3"], "text": "e.5;e.4;", "counter": 1}, "e.4 stands behind e.5"),
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3"], "text": "e.4;e.5;", "counter": 2}, "counter is at 2"),
        ({"map": {"e.1": 1}, "list": ["e.2", "e.3"], "text": "e.4;e.5;"}, "counter is at 0"),
    ],
)
def test_the_judge_sees(content: dict[str, JSON], complaint: str) -> None:
    records = EditRecords()
    kinds = {"map": (1, 7), "list": (2, 3), "text": (4, 5), "counter": (6,)}
    edits = [Edit(kind, f"e.{number}") for kind, numbers in kinds.items() for number in numbers]
    records.made.update(dict.fromkeys((*edits, Edit("map", "e.7", is_added=False))))
    found = list(_of_content(content, records, records.made))
    assert re.search(complaint, found[0]) if complaint else not found, found
