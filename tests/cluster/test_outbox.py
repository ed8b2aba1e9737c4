"""An agent in a process of its own, killed while it works, with nodes killed under it: each number once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.cluster.harness import Cluster

WAIT_S: Final = 60.0
LIVES: Final = 6
PROGRAM: Final = """
import asyncio, sys
import tallystick
from tallystick import ops

async def main(endpoints, path):
    async with tallystick.connect(endpoints, namespace="demo") as client:
        async with client.agent("counter").outbox(path, patience_s=0.5) as box:
            while True:
                state = box.state
                number = len(state["log"]) if isinstance(state, dict) and "log" in state else 0
                written = await box.append(ops.append("/log", number))
                print(number, written.seq, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def life(program: Path, endpoints: str, path: Path, numbers: int) -> int:
    """Lets the agent work until it has told of so many numbers, and kills it; the last one that it told of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), endpoints, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    last = -1
    try:
        async with asyncio.timeout(WAIT_S):
            for _ in range(numbers):
                line = await process.stdout.readline()
                assert line, "the agent ended by itself"
                last = int(line.split()[0])
    finally:
        process.kill()
        await process.wait()
    return last


async def test_what_was_appended_is_decided_once_whoever_is_killed(tmp_path: Path) -> None:
    program, path = tmp_path / "agent.py", tmp_path / "counter.outbox"
    program.write_text(PROGRAM)
    async with Cluster(tmp_path, contexts=False) as cluster:
        endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
        told = -1
        for number in range(LIVES):
            if number % 2:  # it loses the majority, goes on offline, dies offline, and comes home in its next life
                stopped = cluster.others(await cluster.wait_for_leader())
                cluster.kill(*stopped)
                told = max(told, await life(program, endpoints, path, 20 + number))
                await cluster.start(*stopped)
            else:
                told = max(told, await life(program, endpoints, path, 20 + number))
        async with cluster.connect() as client:
            agent = client.agent("counter")
            async with agent.outbox(path) as box:
                report = await box.reconcile()
                assert report.is_clean
            state = (await agent.read()).state
            assert isinstance(state, dict) and isinstance(state["log"], list)
            assert state["log"] == list(range(len(state["log"])))
            assert len(state["log"]) >= told + 1, "it told of more than there is"
