"""Contexts as agents use them, on real nodes: seen elsewhere, acknowledged, cut off, killed, found again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tallystick import Context, Cursor, Unavailable
from tallystick.contexts import Change, Present
from tallystick.testing import LocalCluster

DEADLINE_S = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(nodes=3, folder=tmp_path_factory.mktemp("cluster")) as cluster:
        await cluster.wait_for_leader()
        yield cluster


async def shows(context: Context, wanted: Callable[[dict[str, object]], bool]) -> None:
    """Waits until the replica's content is so."""
    async with asyncio.timeout(DEADLINE_S):
        changes = context.changes()
        while not wanted({**context.to_json()}):
            await anext(changes)
        await changes.aclose()


async def test_seen_elsewhere_with_author_cursor_and_presence(cluster: LocalCluster) -> None:
    async with (
        cluster.connect(actor="ann", nodes=["a"]) as ann,
        cluster.connect(actor="ben", nodes=["b"]) as ben,
        ann.context("shared") as here,
    ):
        with here.transaction("plan it"):
            here.map("tasks")["t1"] = "ready"
        cursor = await here.flush()
        assert cursor is not None
        async with ben.context("shared", after=Cursor.from_json(cursor.to_json())) as there:
            assert there.map("tasks")["t1"] == "ready"
            seen: list[Change] = []
            there.observe(seen.extend)
            here.text("notes").append("hello")
            there.map("tasks")["t2"] = 2
            await shows(there, lambda content: content.get("notes") == "hello")
            await shows(here, lambda content: content["tasks"] == {"t1": "ready", "t2": 2})
            told = {(change.path, change.author.actor, change.author.is_local) for change in seen}
            assert told == {("/notes/0", "ann", False), ("/tasks/t2", "ben", True)}
            await there.flush()
            since = await there.since(cursor)
            assert {(change.path, change.author.actor) for change in since} == {
                ("/notes/0", "ann"),
                ("/tasks/t2", "ben"),
            }
            edits = [edit async for edit in there.history(actor="ann")]
            assert edits[0].cause == "plan it"
            here.presence.set({"doing": "t1"})
            await is_present(there, "ann", {"doing": "t1"})
            here.presence.leave()
            await is_present(there, "ann", None)


async def is_present(context: Context, actor: str, state: object) -> None:
    """Waits until this one is here and says so; None: is not here."""
    async with asyncio.timeout(DEADLINE_S):
        pictures = context.presence.changes()
        async for present in pictures:
            found = next((each for each in present if each.actor == actor), None)
            if (None if found is None else found.state) == state:
                break
        await pictures.aclose()
    assert isinstance(found, Present) or state is None


async def test_three_replicas_that_are_cut_off_edit_and_merge(cluster: LocalCluster, tmp_path: Path) -> None:
    clients = [cluster.connect(actor=name) for name in ("ann", "ben", "cem")]
    contexts = [client.context("offline", store=tmp_path / f"{number}.db") for number, client in enumerate(clients)]
    for context in contexts:
        await context.__aenter__()
    await cluster.partition(["clients"], cluster.node_ids)
    for number, context in enumerate(contexts):
        context.map("tasks")[f"by{number}"] = number
        context.counter("votes").add(number + 1)
        context.list("log").append(number)
        with pytest.raises(Unavailable):
            await context.flush(timeout_s=0.05)
        await context.flush(ack="disk")
    await cluster.heal()
    for context in contexts:
        await context.flush(timeout_s=DEADLINE_S)
    for context in contexts:
        await shows(context, lambda content: content.get("votes") == 6 and len(content["tasks"]) == 3)  # type: ignore[arg-type]
    contents = [context.to_json() for context in contexts]
    assert contents[0] == contents[1] == contents[2]
    assert sorted(contents[0]["log"]) == [0, 1, 2]  # type: ignore[arg-type,type-var]
    for context, client in zip(contexts, clients, strict=True):
        await context.__aexit__(None, None, None)
        await client.close()


AGENT = """
import asyncio, os, signal, sys
import tallystick

async def main():
    async with tallystick.connect(sys.argv[1], namespace="demo", actor="dan") as client:
        async with client.context("killed", store=sys.argv[2]) as plan:
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            for number in range(200):
                plan.map("tasks")[f"k{number}"] = number
            await plan.flush(ack="disk")
            print("safe", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_killed_client_loses_no_edit_that_its_disk_had(cluster: LocalCluster, tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, endpoints, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await agent.stdout.readline() == b"open\n"
            await cluster.partition(["clients"], cluster.node_ids)
            agent.stdin.write(b"\n")
            assert await agent.stdout.readline() == b"safe\n"
            await agent.wait()
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
        await cluster.heal()
    wanted = {f"k{number}": number for number in range(200)}
    async with (
        cluster.connect(actor="dan") as again,
        cluster.connect(actor="eve") as other,
        again.context("killed", store=path) as plan,
    ):
        assert plan.map("tasks").to_dict() == wanted
        cursor = await plan.flush(timeout_s=DEADLINE_S)
        async with other.context("killed", after=cursor) as there:
            assert there.map("tasks").to_dict() == wanted


async def test_a_node_that_dies_is_left_for_another(cluster: LocalCluster) -> None:
    async with cluster.connect(actor="ann") as client, client.context("failover") as plan:
        plan.map("tasks")["before"] = 1
        cursor = await plan.flush()
        assert cursor is not None
        await cluster.kill(cursor.node_id)
        plan.map("tasks")["after"] = 2
        later = await plan.flush(timeout_s=DEADLINE_S)
        assert later is not None
        assert later.node_id != cursor.node_id
        await cluster.start(cursor.node_id)
        async with (
            cluster.connect(actor="ben", nodes=[cursor.node_id]) as other,
            other.context("failover", after=later, timeout_s=DEADLINE_S) as there,
        ):
            assert there.map("tasks").to_dict() == {"before": 1, "after": 2}
