"""Stock Yjs clients (yjs and y-websocket under Node) in the same documents as agents, over real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tallystick.contexts.context import Context
from tallystick.testing.local_links import free_addresses
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import DEADLINE_S
from tests.cluster.harness_wait import eventually
from tests.yjs.client import YjsClient, install_yjs

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOTS: Final = {"tasks": "map", "steps": "list", "notes": "text"}


class WebCluster(Cluster):
    """Three nodes, each with an HTTP port."""

    def __init__(self, folder: Path) -> None:
        with contextlib.ExitStack() as held:  # so that the cluster does not choose the same ports
            self.http = {node_id: _held_address(held) for node_id in ("a", "b", "c")}
            super().__init__(folder, node_flags={name: [f"--http-address={at}"] for name, at in self.http.items()})

    def url(self, node_id: str) -> str:
        """What a WebsocketProvider is given."""
        return f"ws://{self.http[node_id]}/yjs/{self.namespace}"


def _held_address(held: contextlib.ExitStack) -> str:
    """A free address, in nobody else's hands until the stack is closed."""
    for address in free_addresses():
        holder = held.enter_context(socket.socket())
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError):
            holder.bind((host, int(port)))
            return address
    raise AssertionError("no port is free")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebCluster]:
    await asyncio.to_thread(install_yjs)
    async with WebCluster(tmp_path_factory.mktemp("yjs")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: WebCluster) -> WebCluster:
    """With a context "plan"."""
    await running.begin()
    async with running.connect() as client:
        await client.create_context("plan")
    return running


async def test_stock_clients_on_two_nodes_make_one_document(cluster: WebCluster) -> None:
    async with YjsClient() as ada, YjsClient() as bob:
        assert (await ada.open(cluster.url("a"), "plan", actor="ada"))["synced"]
        assert (await bob.open(cluster.url("b"), "plan", actor="bob"))["synced"]
        await ada.edit("tasks", "map", key="t1", value={"status": "open", "tries": 3})
        await bob.edit("steps", "list", at=0, insert=["look", "leap"])
        await ada.edit("notes", "text", at=0, insert="h\u00e9llo \U0001f33f")
        wanted = {
            "tasks": {"t1": {"status": "open", "tries": 3}},
            "steps": ["look", "leap"],
            "notes": "h\u00e9llo \U0001f33f",
        }
        for client in (ada, bob):
            await client.until(ROOTS, wanted)
        await bob.edit("notes", "text", at=0, delete=1, insert="H")
        await ada.edit("tasks", "map", key="t1")
        for client in (ada, bob):
            await client.until(ROOTS, {**wanted, "tasks": {}, "notes": "H\u00e9llo \U0001f33f"})


async def test_presence_comes_and_goes(cluster: WebCluster) -> None:
    async with YjsClient() as ada:
        await ada.open(cluster.url("a"), "plan", actor="ada")
        await ada.ask("presence", state={"name": "ada"})
        async with YjsClient() as bob:
            await bob.open(cluster.url("b"), "plan", actor="bob")
            await bob.ask("presence", state={"name": "bob"})
            assert (await ada.ask("others", count=1))["others"] == [{"name": "bob"}]
            assert (await bob.ask("others", count=1))["others"] == [{"name": "ada"}]
        assert (await ada.ask("others", count=0))["others"] == []


async def test_stock_clients_and_agents_plan_together(cluster: WebCluster) -> None:
    async with YjsClient() as ada, cluster.connect(nodes=["c"], actor="eve") as client:
        await ada.open(cluster.url("a"), "plan", actor="ada")
        async with client.context("plan") as plan:
            await ada.edit("tasks", "map", key="t1", value={"status": "open", "share": 0.5})
            await ada.edit("notes", "text", at=0, insert="from Yjs \U0001f33f")
            plan.list("steps").extend(["one", 2, None, {"deep": [True]}])
            plan.map("tasks")["t2"] = "by an agent"
            wanted = {
                "tasks": {"t1": {"status": "open", "share": 0.5}, "t2": "by an agent"},
                "steps": ["one", 2, None, {"deep": [True]}],
                "notes": "from Yjs \U0001f33f",
            }
            await ada.until(ROOTS, wanted)

            async def sees_all() -> bool:
                seen = {
                    "tasks": dict(plan.map("tasks")),
                    "steps": list(plan.list("steps")),
                    "notes": str(plan.text("notes")),
                }
                return seen == wanted

            await eventually(sees_all, within_s=DEADLINE_S, what="the agent sees what the Yjs client did")
            plan.text("notes").insert(0, "\U0001f33f ")
            await ada.until(ROOTS, {**wanted, "notes": "\U0001f33f from Yjs \U0001f33f"})
            await _both_are_here(plan, ada)
            await plan.flush(ack="quorum")
            figures = await asyncio.to_thread(_metrics, cluster.http["a"])
            labels = f'context="plan",namespace="{cluster.namespace}"'
            assert f"tallystick_context_writers{{{labels}}} 2.0" in figures
            authors = {edit.actor async for edit in plan.history()}
            assert authors == {"ada", "eve"}


def _metrics(address: str) -> list[str]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE_S) as answer:
        return str(answer.read(), "utf-8").splitlines()


async def _both_are_here(plan: Context, ada: YjsClient) -> None:
    plan.presence.set({"name": "eve"})
    await ada.ask("presence", state={"name": "ada"})
    assert (await ada.ask("others", count=1))["others"] == [{"name": "eve"}]

    async def sees_ada() -> bool:
        return [other.state for other in await plan.presence.others()] == [{"name": "ada"}]

    await eventually(sees_ada, within_s=DEADLINE_S, what="the agent sees who is here")


async def test_what_was_edited_offline_comes_along(cluster: WebCluster) -> None:
    async with YjsClient() as ada, YjsClient() as bob:
        await ada.open(cluster.url("a"), "plan", actor="ada")
        await bob.open(cluster.url("c"), "plan", actor="bob")
        await ada.edit("steps", "list", at=0, insert=["one"])
        await bob.until(ROOTS, {"tasks": {}, "steps": ["one"], "notes": ""})
        await ada.ask("go", online=False)
        await ada.edit("steps", "list", at=1, insert=["two"])
        await bob.edit("tasks", "map", key="k", value=1)
        await ada.ask("go", online=True)
        for client in (ada, bob):
            await client.until(ROOTS, {"tasks": {"k": 1}, "steps": ["one", "two"], "notes": ""})


async def test_a_context_that_is_deleted_sends_its_clients_away_for_good(cluster: WebCluster) -> None:
    async with YjsClient() as ada, cluster.connect() as client:
        await ada.open(cluster.url("a"), "plan")
        await client.delete_context("plan")
        closed = (await ada.ask("closed"))["closed"]
        assert isinstance(closed, dict)
        assert closed["code"] == 4404
    async with YjsClient() as bob:
        opened = await bob.open(cluster.url("b"), "plan")
        assert opened["closed"] == {"code": 4404, "reason": opened["closed"]["reason"]}  # type: ignore[index]
