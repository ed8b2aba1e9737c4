"""Three agents plan through a partition, staged: the second act of `make demo`, or `python examples/plan/demo.py`.

Three real nodes; Ann, Bob and Cleo each stand beside one of them. Ann puts files on a board, Bob and Cleo count their
lines. Then Ann is cut off, with her node, and goes on planning; so do the others. After the partition is mended all
that was planned is done, and everything is checked. Exit code 0: all of it holds.

Rules of this file: it acts on what the plans show, never on time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a file, too

import tallystick
from examples.plan.agents import CONTEXT, Agent, Notebook
from examples.plan.verify import Check, Evidence, verify
from tallystick import JSON
from tallystick.testing import LocalCluster
from tallystick.testing.local_wait import eventually

AGENTS: Final = {"ann": "a", "bob": "b", "cleo": "c"}
FILES: Final = 12
DEADLINE_S: Final = 120.0
REFUSAL_S: Final = 1.0
BROKEN, INTERRUPTED = 1, 130


class Story:
    """What happened, as it is told."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._began_s = time.monotonic()
        self._is_quiet = is_quiet
        self.moments: list[str] = []

    def say(self, what: str) -> None:
        """Tells it."""
        self.moments.append(what)
        if not self._is_quiet:
            print(f"{time.monotonic() - self._began_s:7.2f} s  {what}", flush=True)


class Director:
    """Starts the agents, cuts one off, mends it, and looks."""

    def __init__(self, cluster: LocalCluster, root: Path, files: Sequence[Path], story: Story) -> None:
        self._cluster, self._root, self._story = cluster, root, story
        third = len(files) // 3
        self._first, self._anns, self._bobs = files[:third], files[third : 2 * third], files[2 * third :]
        self._notebook = Notebook()
        self._agents: dict[str, Agent] = {}
        self._is_over = False

    async def run(self) -> Evidence:
        """The whole of it."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as workers:
            for name, node in AGENTS.items():
                client = await stack.enter_async_context(self._cluster.connect_beside(node, actor=name))
                plan = await stack.enter_async_context(client.context(CONTEXT))
                self._agents[name] = Agent(name, plan, self._notebook)
            for name in ("bob", "cleo"):
                workers.create_task(self._agents[name].work(self._root, lambda: self._is_over))
            self._story.say("three nodes run; Ann, Bob and Cleo hold one plan")
            await self._together()
            await self._cluster.partition(["a"], ["b", "c"])
            self._story.say("node a is cut off, and Ann with it")
            refused = await self._apart()
            await self._cluster.heal()
            self._story.say("the partition is mended")
            disputed = await self._agree()
            nodes = await self._read_nodes()
            plans = {name: agent.plan.to_json() for name, agent in self._agents.items()}
            self._is_over = True
        return Evidence(self._notebook, plans, nodes, disputed, refused)

    async def _together(self) -> None:
        ann = self._agents["ann"]
        ann.add_tasks(list(self._first))
        await self._all_see(lambda plan: _done(plan) == len(self._first))
        self._story.say(f"Ann planned {len(self._first)} files, Bob and Cleo counted them")

    async def _apart(self) -> list[str]:
        """Both sides go on; what the cut-off one was refused."""
        ann, bob, cleo = self._agents.values()
        ann.add_tasks(list(self._anns))
        ann.set_deadline("Friday")
        await ann.plan.flush(ack="local")
        self._story.say(f"Ann plans {len(self._anns)} more files; her node has them on its disk")
        refused = []
        try:
            await ann.plan.flush(timeout_s=REFUSAL_S)
        except tallystick.Unavailable:
            refused.append("a majority's acknowledgement")
        task = self._notebook.planned[-1]
        try:
            await ann.plan.board("tasks").claim(task, timeout_s=REFUSAL_S)
        except (tallystick.Unavailable, tallystick.Undecided):
            refused.append("a claim")
        self._story.say(f"she is refused {' and '.join(refused)}: it would take a majority")
        bob.add_tasks(list(self._bobs))
        cleo.set_deadline("Monday")
        await self._see([bob, cleo], lambda plan: _done(plan) == len(self._first) + len(self._bobs))
        await cleo.plan.flush()
        self._story.say(f"the others planned and counted {len(self._bobs)} files meanwhile")
        return refused

    async def _agree(self) -> list[JSON]:
        """Until all is done everywhere; the deadlines that stood beside each other."""
        mended_s = time.monotonic()
        await self._all_see(lambda plan: len(plan.board("tasks")) == len(self._notebook.planned))
        await self._all_see(lambda plan: plan.register("deadline").is_conflicted)
        self._story.say(f"all see both sides' plans, {time.monotonic() - mended_s:.2f} s later, and two deadlines")
        cleo = self._agents["cleo"]
        disputed: list[JSON] = [str(value) for value in cleo.plan.register("deadline").values()]
        cleo.set_deadline("Monday at noon")
        await self._all_see(lambda plan: _done(plan) == len(self._notebook.planned))
        for agent in self._agents.values():
            await agent.plan.flush()
        first = cleo.plan
        await self._all_see(lambda plan: plan.to_json() == first.to_json())
        self._story.say("all files are counted, and all three see the same plan")
        return disputed

    async def _read_nodes(self) -> dict[str, dict[str, JSON]]:
        """The plan as each node has it, by replicas that come fresh from each."""
        cursor = self._agents["cleo"].plan.cursor
        found = {}
        for node in self._cluster.node_ids:
            async with (
                self._cluster.connect_beside(node, actor="reader") as client,
                client.context(CONTEXT, create=False, after=cursor) as plan,
            ):
                found[f"node {node}"] = plan.to_json()
        return found

    async def _all_see(self, what: Callable[[tallystick.Context], bool]) -> None:
        await self._see(list(self._agents.values()), what)

    async def _see(self, agents: Sequence[Agent], what: Callable[[tallystick.Context], bool]) -> None:
        async def look() -> bool:
            return all(what(agent.plan) for agent in agents)

        await eventually(look, within_s=DEADLINE_S, what="the plans show it")


def _done(plan: tallystick.Context) -> int:
    return len(plan.board("tasks").tasks(status="done"))


async def stage(story: Story, root: Path, files: Sequence[Path]) -> list[Check]:
    """Runs it and verifies it. Raises `TimeoutError` if it does not come to an end."""
    async with asyncio.timeout(DEADLINE_S), LocalCluster(nodes=3) as cluster:
        return verify(await Director(cluster, root, files, story).run())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a story")
    options = parser.parse_args(arguments)
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(file.relative_to(root) for file in root.glob("*.py"))[:FILES]
    story = Story(is_quiet=options.json)
    try:
        checks = asyncio.run(stage(story, root, files))
    except (TimeoutError, AssertionError, ExceptionGroup, tallystick.TallystickError) as error:
        print(f"the demonstration failed: {error or f'no end after {DEADLINE_S:.0f} s'}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return INTERRUPTED
    is_ok = all(check.ok for check in checks)
    if options.json:
        print(json.dumps({"ok": is_ok, "moments": story.moments, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"  {'yes' if check.ok else 'NO '}  {check.name}: {check.detail}")
        print("all of it holds" if is_ok else "NOT all of it holds")
    return 0 if is_ok else BROKEN


if __name__ == "__main__":
    sys.exit(main())
