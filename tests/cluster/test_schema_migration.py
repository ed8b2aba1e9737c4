"""A migration in a process of its own, killed in the middle, and gone on with by another: each state comes up once."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Final

import tallystick.sync
from tallystick import ops
from tallystick.schemas import MigrationReport, upcaster
from tests.cluster.harness import Cluster

WAIT_S: Final = 60.0
AGENTS: Final = 40
STUCK_AT: Final = 25
SUBJECT: Final = "state of planner-"
PROGRAM: Final = f"""
import asyncio, sys, time
import tallystick
from tallystick.schemas import upcaster

@upcaster("{SUBJECT}", from_version=1)
def to_list(state):
    if state["n"] == {STUCK_AT}:
        print("stuck", flush=True)
        time.sleep(600)
    return {{"n": [state["n"]]}}

async def main(endpoints, namespace):
    async with tallystick.connect(endpoints, namespace=namespace, schemas=[to_list]) as client:
        await client.schemas.migrate("planner-", concurrency=2)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@upcaster(SUBJECT, from_version=1)
def to_list(state: dict[str, int]) -> dict[str, list[int]]:
    return {"n": [state["n"]]}


async def killed(program: Path, *arguments: str) -> None:
    """Runs it until it is stuck, and kills it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S):
            assert await process.stdout.readline() == b"stuck\n"
    finally:
        process.kill()
        await process.wait()


def go_on(endpoints: str, namespace: str) -> tuple[MigrationReport, list[MigrationReport]]:
    """The blocking client, whose caller is told on its own thread."""
    told: list[MigrationReport] = []
    here = threading.current_thread()

    def progress(so_far: MigrationReport) -> None:
        assert threading.current_thread() is here
        told.append(so_far)

    with tallystick.sync.connect(endpoints, namespace=namespace, schemas=[to_list]) as client:
        return client.schemas.migrate("planner-", progress=progress), told


async def test_what_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    program = tmp_path / "migrate.py"
    program.write_text(PROGRAM)
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
        await client.schemas.register(SUBJECT, {"properties": {"n": {"type": "integer"}}, "required": ["n"]})
        for number in range(AGENTS):
            await client.agent(f"planner-{number:02}").append(ops.set("/n", number))
        await client.schemas.register(SUBJECT, {"properties": {"n": {"type": "array"}}}, compatibility="none")

        await killed(program, endpoints, client.namespace)
        report, told = await asyncio.to_thread(go_on, endpoints, client.namespace)

        assert STUCK_AT - 1 <= report.skipped < AGENTS
        assert (report.migrated, report.failed) == (AGENTS - report.skipped, 0)
        assert len(told) == AGENTS
        async for info in client.agents(prefix="planner-"):
            assert (info.name, info.seq, info.state_version) == (info.name, 2, 2)
            assert (await client.agent(info.name).read()).state == {"n": [int(info.name[-2:])]}
