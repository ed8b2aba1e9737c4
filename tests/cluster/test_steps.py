"""A worker that is killed in the middle of a side effect: nobody brings it about again unawares."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from tallystick import Conflict, Happened, Reason, Step, StepStatus
from tallystick_node.cli import main
from tests.cluster.harness import Cluster
from tests.cluster.harness_wait import eventually

WAIT_S: Final = 30.0

WORKER: Final = """
import sys, threading
from pathlib import Path
import tallystick.sync

endpoints, effects = sys.argv[1], Path(sys.argv[2])

def copy(number):
    return {"rows": number}

def pay(amount, *, effect_key):
    assert threading.current_thread() is threading.main_thread()
    with effects.open("a") as file:
        file.write(f"{effect_key} {amount}\\n")
    sys.stdin.read()  # until it is killed

with tallystick.sync.connect(endpoints, namespace="demo", actor="worker") as client:
    agent = client.agent("payer")
    for number in range(3):
        assert agent.step(f"copy-{number}", copy, number) == {"rows": number}
    agent.step("pay", pay, 100)
"""


async def killed_in_its_effect(cluster: Cluster, effects: Path) -> None:
    """Runs the worker, and kills it once the effect happened."""
    endpoints = ",".join(map(cluster.endpoint, cluster.node_ids))
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, endpoints, str(effects), stdin=pipe, stderr=pipe
    )
    try:

        async def happened() -> bool:
            assert worker.returncode is None, await worker.communicate()
            return _read(effects).endswith("\n")

        await eventually(happened, within_s=WAIT_S, what="the effect happened")
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.communicate()


def _read(effects: Path) -> str:
    return effects.read_text() if effects.exists() else ""


async def test_a_worker_killed_in_its_effect_leaves_it_ambiguous(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(actor="other") as client:
        await killed_in_its_effect(cluster, effects)
        cluster.kill(await cluster.wait_for_leader())
        agent = client.agent("payer")

        async def pay(amount: int) -> None:
            pytest.fail(f"{amount} was paid twice")

        with pytest.raises(Conflict) as caught:
            await agent.step("pay", pay, 100)
        assert caught.value.reason is Reason.STEP_AMBIGUOUS

        def probe(step: Step) -> Happened | None:
            paid = [line for line in effects.read_text().splitlines() if line.startswith(step.effect_key)]
            return Happened({"paid": len(paid)}) if paid else None

        assert await agent.step("pay", pay, 100, on_ambiguous=probe) == {"paid": 1}
        assert await agent.step("copy-1", pay, 1) == {"rows": 1}
        listed = {step.name: step async for step in agent.steps.list(results=True)}
        assert [step.status for step in listed.values()] == [StepStatus.COMPLETED] * 4
        assert (listed["pay"].actor, listed["pay"].result) == ("worker", {"paid": 1})
        shown = await _shown(cluster)
        assert [(each["step"], each["result"]) for each in shown] == [
            *((f"copy-{number}", {"rows": number}) for number in range(3)),
            ("pay", {"paid": 1}),
        ]


async def _shown(cluster: Cluster) -> list[dict[str, object]]:
    endpoints = ",".join(map(cluster.endpoint, cluster.node_ids))
    runner = CliRunner(env={"TALLYSTICK_ENDPOINTS": endpoints, "TALLYSTICK_NAMESPACE": "demo"})
    for_people = await asyncio.to_thread(runner.invoke, main, ["agent", "steps", "payer", "--limit", "1"])
    assert for_people.exit_code == 0, for_people.output
    assert "copy-0" in for_people.stdout
    assert "there are more" in for_people.stderr
    none = await asyncio.to_thread(runner.invoke, main, ["agent", "steps", "payer", "--status", "begun", "--json"])
    assert (none.exit_code, none.stdout) == (0, "")
    result = await asyncio.to_thread(runner.invoke, main, ["agent", "steps", "payer", "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
