"""Yjs makes of a simulation's updates what the nodes make of them: partitions, kills and late updates included."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Final

import pytest

from tallystick.testing import SimCluster
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.sim.editing import EQUAL_S, NAME, Editor, EditRecords, Edits
from tallystick_node.sim.nemesis import Nemesis, run_script
from tests.yjs.client import YjsClient, install_yjs

pytestmark = pytest.mark.xdist_group("real nodes")

ROOTS: Final = {"map": "map", "list": "list", "text": "text"}
KINDS: Final = ("partition", "one_way", "drop", "delay", "kill", "kill_worker", "heal")
SECONDS: Final = 12.0


async def edited(cluster: SimCluster) -> tuple[dict[str, object], list[bytes]]:
    """What the nodes hold of a document that several edit under faults, and what each has of it as an update."""
    script = Nemesis.script(cluster.seed, cluster.node_ids, SECONDS, KINDS, contexts=True)
    ends_s, edits = cluster.now_s + SECONDS, Edits(EditRecords)
    async with cluster.connect("demo", actor="maker") as client, client.context(NAME) as context:
        guid = context.guid

    async def edit(name: str) -> None:
        async with cluster.connect("demo", actor=name) as client:
            await Editor(cluster, edits, name, random.Random(f"{cluster.seed} {name}")).run(client, ends_s)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_script(cluster, script))
        for number in range(3):
            tasks.create_task(edit(f"editor-{number}"))
    whole = await parts(cluster, guid)  # before anybody has heard all of it
    cluster.heal()
    await cluster.start(*cluster.node_ids)
    limit_s = cluster.now_s + 2 * EQUAL_S
    while len(contents := {json.dumps(await shown(cluster, node_id)) for node_id in cluster.node_ids}) > 1:
        assert cluster.now_s < limit_s, contents
        await cluster.sleep(0.1)
    return json.loads(contents.pop()), [*whole, *await parts(cluster, guid)]


async def parts(cluster: SimCluster, guid: bytes) -> list[bytes]:
    """The document as each node that has it open holds it."""
    question = worker_pb2.Request(diff=worker_pb2.Diff(id=ContextId(guid, 1).to_proto()))
    workers = [node.worker for node in cluster.nodes.values()]
    held = [worker.look(question).data.data for worker in workers if worker is not None and worker.is_open]
    return [update for update in held if update]


async def shown(cluster: SimCluster, node_id: str) -> dict[str, object]:
    """What a client sees at a node."""
    async with cluster.connect("demo", nodes=[node_id]) as client, client.context(NAME) as context:
        content = context.to_json()
        return {name: content.get(name, {"map": {}, "list": [], "text": ""}[name]) for name in ROOTS}


@pytest.mark.parametrize("seed", range(3))
def test_yjs_makes_the_same_of_a_simulation(seed: int) -> None:
    install_yjs()
    with SimCluster(nodes=3, seed=seed, contexts=True) as cluster:
        content, updates = cluster.run(edited)

    async def theirs() -> list[dict[str, object]]:
        backwards = updates[::-1]
        async with YjsClient() as oracle:
            return [await oracle.merged(some, ROOTS) for some in (updates, backwards)]

    assert len(updates) >= 3
    assert asyncio.run(theirs()) == [content, content]
