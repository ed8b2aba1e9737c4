"""Agents that plan together in one shared context while the cluster suffers, and what must be true in the end.

Rules of this file:
- Everything that is edited is unique and put down before it is made: nothing may be lost, nothing invented.
- A planner has a local store: what it edited outlives its replica, which is closed and opened again at times.
- An edit is promised once `flush` has returned; in the end, with peace, every edit is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tallystick import Client, Unavailable
from tallystick.contexts.context import Context
from tallystick.testing.local_cluster import LocalCluster
from tallystick.testing.local_wait import eventually

NAME: Final = "plan"
THINK_S: Final = (0.0, 0.15)
LIFE_EDITS: Final = (5, 80)
"""Edits of one life of a replica."""
FLUSH_CHANCE: Final = 0.2
FLUSH_S: Final = 3.0
WORKER_KILL_S: Final = (4.0, 12.0)
_FIRST_CHARACTER: Final = 0xF0000  # private use: each is inserted once
_CHARACTERS: Final = 60_000
_EDITS_MAX: Final = 10_000  # of one planner: a run for hours shall not fill the memory


class Planner:
    """One agent, with one replica at a time.

    Attributes:
        hits: what it added to the counter.
        made: what it put into the list, the set and the text.
        promised: how many of its edits a majority has, as it was told.
    """

    def __init__(self, place: int, planners: int, client: Client, store: Path, seed: int) -> None:
        self.place = place
        self.hits = 0
        self.made: list[str] = []
        self.characters: list[str] = []
        self.promised = 0
        self._planners = planners
        self._client = client
        self._store = store
        self._rng = random.Random(f"planner {place} of {seed}")

    async def run(self, stop: asyncio.Event) -> None:
        """Edits until it is told to stop, in one life after another."""
        while not stop.is_set() and len(self.made) < _EDITS_MAX:
            with contextlib.suppress(Unavailable):  # the context is not created yet, and nobody answers
                async with self.open() as plan:
                    for _ in range(self._rng.randint(*LIFE_EDITS)):
                        await self._edit(plan)
                        await asyncio.sleep(self._rng.uniform(*THINK_S))
                        if stop.is_set():
                            break

    def open(self) -> Context:
        """Its replica."""
        return self._client.context(NAME, store=self._store)

    async def _edit(self, plan: Context) -> None:
        try:
            with plan.transaction(f"edit {len(self.made)}"):
                self._change(plan)
        except Unavailable:  # no writer id to spare, and no node that gives one
            return
        if self._rng.random() < FLUSH_CHANCE:
            made = len(self.made)
            with contextlib.suppress(Unavailable):
                await plan.flush(timeout_s=FLUSH_S)
                self.promised = max(self.promised, made)

    def _change(self, plan: Context) -> None:
        _ = plan.writer  # raises before anything is put down
        number = len(self.made)
        token = f"{self.place}:{number}"
        amount = self._rng.randint(-5, 10)
        character = chr(_FIRST_CHARACTER + (self.place + number * self._planners) % _CHARACTERS)
        self.made.append(token)
        self.hits += amount
        plan.counter("hits").add(amount)
        plan.set("things").add(token)
        plan.list("steps").append(token)
        plan.map("tasks")[f"t{self._rng.randrange(20)}"] = token
        plan.register("mood").set(token)
        if len(self.characters) < _CHARACTERS // self._planners:
            text = plan.text("notes")
            text.insert(self._rng.randint(0, len(text)), character)
            self.characters.append(character)


class Planners:
    """All of them."""

    def __init__(self, cluster: LocalCluster, clients: Sequence[Client], folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._cluster = cluster
        self._rng = random.Random(f"planners {seed}")
        self.workers_killed = 0
        self.all = [
            Planner(place, len(clients), client, folder / f"planner-{place}.db", seed)
            for place, client in enumerate(clients)
        ]

    def start(self, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        """They plan, and now and then the worker process of a node is killed beside all else that happens."""
        for planner in self.all:
            tasks.create_task(planner.run(stop))
        tasks.create_task(self._kill_workers(stop))

    async def reckon(self, within_s: float) -> list[str]:
        """Opens every replica again; what is wrong once all have heard each other.

        Raises:
            TallystickError, AssertionError: they do not come to an end in time.
        """
        async with contextlib.AsyncExitStack() as stack:
            plans = [await stack.enter_async_context(planner.open()) for planner in self.all]
            for plan in plans:
                await plan.flush(timeout_s=within_s)

            async def equal() -> bool:
                first, *others = (plan.to_json() for plan in plans)
                return all(other == first for other in others)

            await eventually(equal, within_s=within_s, what="all replicas are equal")
            return self._judge(plans[0])

    def _judge(self, plan: Context) -> list[str]:
        tokens = Counter(token for planner in self.all for token in planner.made)
        characters = Counter(character for planner in self.all for character in planner.characters)
        steps = list(plan.list("steps"))
        wrong = [
            *_differences("the list", tokens, Counter(map(str, steps))),
            *_differences("the set", tokens, Counter(map(str, plan.set("things")))),
            *_differences("the text", characters, Counter(str(plan.text("notes")))),
        ]
        for planner in self.all:
            own = [step for step in steps if str(step).startswith(f"{planner.place}:")]
            if own != sorted(own, key=lambda step: int(str(step).partition(":")[2])):
                wrong.append(f"the steps of planner {planner.place} are out of order")
        if plan.counter("hits").value != sum(planner.hits for planner in self.all):
            wrong.append("the counter is not the sum of what was added")
        invented = {str(value) for value in plan.map("tasks").values()} - tokens.keys()
        return [*wrong, *(f"{token} stands in the map, and nobody wrote it" for token in sorted(invented))]

    async def _kill_workers(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._rng.uniform(*WORKER_KILL_S))
            node = self._cluster.nodes[self._rng.choice(sorted(self._cluster.nodes))]
            if node.is_running and not node.is_paused and not stop.is_set():
                for pid in _workers_of(node.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.workers_killed += 1


def _differences(where: str, wanted: Counter[str], found: Counter[str]) -> list[str]:
    lost, more = wanted - found, found - wanted
    return [
        *([f"{where} lost {len(lost)}: {sorted(lost)[:3]}"] if lost else []),
        *([f"{where} has {len(more)} too many: {sorted(more)[:3]}"] if more else []),
    ]


def _workers_of(pid: int) -> list[int]:
    """The children of a node's process: there are no others."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
