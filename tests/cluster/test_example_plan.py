"""examples/plan: it ends equal, and its verdict can be no."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from examples.plan import verify
from examples.plan.agents import Notebook
from examples.plan.verify import Evidence
from tallystick import JSON

DEMO: Final = Path(__file__).resolve().parents[2] / "examples" / "plan" / "demo.py"
RUN_S: Final = 150.0


async def test_plan_survives_a_partition() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, DEMO, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode() + errors.decode()
    told = json.loads(output)
    assert told["ok"] is True
    assert len(told["checks"]) == 7 and all(check["ok"] for check in told["checks"])
    assert any("mended" in moment for moment in told["moments"])


def _plan() -> dict[str, JSON]:
    tasks: dict[str, JSON] = {name: {"status": "done", "by": who} for name, who in (("x", "bob"), ("y", "cleo"))}
    return {"tasks": tasks, "lines": 7, "notes": "ann: hm\nbob: ho\n", "deadline": "noon", "seen": [".py"]}


def _sound() -> Evidence:
    """Evidence of a plan without a fault."""
    notebook = Notebook(
        planned=["x", "y"],
        told=["bob: ho", "ann: hm"],
        counted=[("bob", "x", 3), ("cleo", "y", 4)],
        epochs=[1, 3],
        deadlines=["Friday", "Monday", "noon"],
    )
    return Evidence(
        notebook,
        {name: _plan() for name in ("ann", "bob")},
        {name: _plan() for name in ("node a", "node b")},
        ["Monday", "Friday"],
        ["a majority's acknowledgement", "a claim"],
    )


Lie = Callable[[Evidence], Evidence]


def _noted(**changes: object) -> Lie:
    return lambda evidence: dataclasses.replace(
        evidence,
        notebook=dataclasses.replace(evidence.notebook, **changes),  # type: ignore[arg-type]
    )


def _shown(**changes: JSON) -> Lie:
    """All show this instead."""

    def lie(evidence: Evidence) -> Evidence:
        plan = {**_plan(), **changes}
        return dataclasses.replace(
            evidence, plans=dict.fromkeys(evidence.plans, plan), nodes=dict.fromkeys(evidence.nodes, plan)
        )

    return lie


LIES: Final[list[tuple[str, Lie]]] = [
    ("check_equal", lambda e: dataclasses.replace(e, nodes={**e.nodes, "node b": {**_plan(), "lines": 8}})),
    ("check_equal", lambda e: dataclasses.replace(e, plans={**e.plans, "bob": {}})),
    ("check_equal", lambda e: dataclasses.replace(e, plans={}, nodes={})),
    ("check_tasks", _noted(planned=["x", "y", "lost"])),
    ("check_tasks", _noted(planned=["x"])),
    ("check_tasks", _shown(tasks={"x": {"status": "done"}, "y": {"status": "open"}})),
    ("check_done_once", _noted(counted=[("bob", "x", 3), ("cleo", "x", 3)])),
    ("check_done_once", _noted(epochs=[1, 1])),
    ("check_done_once", _noted(counted=[], epochs=[])),
    ("check_counter", _shown(lines=3)),
    ("check_notes", _shown(notes="ann: hm\n")),
    ("check_notes", _shown(notes="ann: hm\nbob: ho\nbob: ho\n")),
    ("check_notes", _shown(notes="ann: bob: hm\nho\n")),
    ("check_dispute", lambda e: dataclasses.replace(e, disputed=["Monday"])),
    ("check_dispute", _shown(deadline="Monday")),
    ("check_dispute", _noted(deadlines=[])),
    ("check_refusals", lambda e: dataclasses.replace(e, refused=["a claim"])),
]


def test_sound_evidence_passes_every_check() -> None:
    checks = verify.verify(_sound())
    assert len(checks) == 7 and all(check.ok for check in checks), checks


@pytest.mark.parametrize(("check", "lie"), LIES)
def test_each_lie_is_found(check: str, lie: Lie) -> None:
    found = {
        "check_equal": verify.check_equal,
        "check_tasks": verify.check_tasks,
        "check_done_once": verify.check_done_once,
        "check_counter": verify.check_counter,
        "check_notes": verify.check_notes,
        "check_dispute": verify.check_dispute,
        "check_refusals": verify.check_refusals,
    }[check](lie(_sound()))
    assert not found.ok, found
