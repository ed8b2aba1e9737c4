"""The load: clients that append, compare and read, each waiting for its answer, through whatever happens.

Rules of this file:
- Each client has an actor of its own, and is a process to the checkers; all of a team share a namespace and its keys.
- Every write bears a number. What it was told is put down: acknowledged, undecided (it may have happened), or nothing
  happened. Any other error ends the run.
- Some operations are impatient: with a short time limit they end undecided where others would be retried.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tallystick import Appended, Client, Conflict, Consistency, Snapshot, Unavailable, Undecided, ops
from tallystick.testing.history import Call
from tests.chaos.generations import Generation, Generations
from tests.chaos.log_model import log_of
from tests.chaos.progress import Progress
from tests.cluster.harness_ledger import Ledger, cause_of

THINK_S: Final = (0.0, 0.03)
PATIENT_S: Final = 12.0
IMPATIENT_S: Final = 0.4
IMPATIENT_CHANCE: Final = 0.05
ACTIONS: Final = {"append": 45, "cas": 15, "linearizable": 20, "session": 15, "local": 5}
"""How often each is done, in a hundred."""


@dataclass(slots=True)
class Account:
    """What a team did and what was wrong with an answer by itself.

    Attributes:
        outcomes: operations by action and outcome.
        wrong: states that do not fit their own seq.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Team:
    """The clients of a namespace.

    Args:
        numbers: of writes; no two teams share one.
    """

    def __init__(
        self,
        namespace: str,
        clients: list[Client],
        progress: Progress,
        *,
        seed: int,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.namespace = namespace
        self.ledger = Ledger()
        self.account = Account()
        self._clients = clients
        self._progress = progress
        self._seed = seed
        self._numbers = numbers if numbers is not None else itertools.count()

    def start(self, generations: Generations, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        """The clients go on until told to stop."""
        for place, client in enumerate(self._clients):
            name = f"{self.namespace}-client-{place}"
            worker = _Worker(name, client, self, random.Random(f"{name} {self._seed}"))
            tasks.create_task(worker.run(generations, stop))

    # What the workers put down.

    def next_number(self) -> int:
        """Of the next write."""
        return next(self._numbers)

    def acknowledged(self, agent: str, number: int, answer: Appended) -> None:
        """A write was answered."""
        self._progress.acknowledged(time.monotonic())
        self.ledger.acknowledged(agent, answer.seq, number)


class _Worker:
    """One client."""

    def __init__(self, name: str, client: Client, team: Team, rng: random.Random) -> None:
        self._name = name
        self._client = client
        self._team = team
        self._rng = rng
        self._heads: dict[str, int] = {}
        self._generation: Generation | None = None

    async def run(self, generations: Generations, stop: asyncio.Event) -> None:
        while not stop.is_set():
            generation = await generations.enter()
            if generation is not self._generation:
                self._generation, self._heads = generation, {}
            agent = self._rng.choice(generation.agents)
            try:
                await self._operate(generation, agent)
            finally:
                generation.leave(agent)
            await asyncio.sleep(self._rng.uniform(*THINK_S))

    async def _operate(self, generation: Generation, agent: str) -> None:
        action = self._rng.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]
        timeout_s = IMPATIENT_S if self._rng.random() < IMPATIENT_CHANCE else PATIENT_S
        if action == "append":
            outcome = await self._append(generation, agent, timeout_s)
        elif action == "cas":
            outcome = await self._cas(generation, agent, timeout_s)
        else:
            outcome = await self._read(generation, agent, Consistency(action), timeout_s)
        self._team.account.outcomes[action, outcome] += 1

    async def _append(self, generation: Generation, agent: str, timeout_s: float) -> str:
        number = self._team.next_number()
        call = generation.history.begin(self._name, agent, "append", number, at_s=time.monotonic())
        return await self._write(generation, agent, number, call, lambda answer: answer.seq, timeout_s)

    async def _cas(self, generation: Generation, agent: str, timeout_s: float) -> str:
        number, expected = self._team.next_number(), self._heads.get(agent, 0)
        call = generation.history.begin(self._name, agent, "cas", [expected, number], at_s=time.monotonic())
        try:
            return await self._write(generation, agent, number, call, lambda _: True, timeout_s, expected)
        except Conflict as refused:
            call.ok(at_s=time.monotonic(), result=False)
            self._heads[agent] = int(refused.metadata["head_seq"])
            return "refused"

    async def _write(
        self,
        generation: Generation,
        agent: str,
        number: int,
        call: Call,
        result_of: Callable[[Appended], int],
        timeout_s: float,
        expected: int | None = None,
    ) -> str:
        operations = (ops.increment("/count"), ops.append("/numbers", number))
        try:
            answer = await self._client.agent(agent).append(
                *operations, cause=cause_of(number), expected_seq=expected, timeout_s=timeout_s
            )
        except Undecided:
            call.undecided(at_s=time.monotonic())
            self._team.ledger.undecided(agent, number)
            generation.undecided += 1
            return "undecided"
        except Unavailable:
            call.failed(at_s=time.monotonic())
            return "unavailable"
        call.ok(at_s=time.monotonic(), result=result_of(answer), revision=answer.revision.position)
        self._heads[agent] = answer.seq
        generation.highest_revision = max(generation.highest_revision, answer.revision.position)
        self._team.acknowledged(agent, number, answer)
        return "ok"

    async def _read(self, generation: Generation, agent: str, consistency: Consistency, timeout_s: float) -> str:
        call = generation.history.begin(self._name, agent, "read", at_s=time.monotonic(), consistency=consistency.value)
        try:
            snap = await self._client.agent(agent).rehydrate(tail=0, consistency=consistency, timeout_s=timeout_s)
        except Unavailable:
            call.failed(at_s=time.monotonic())
            return "unavailable"
        call.ok(at_s=time.monotonic(), result=[*self._log_of(agent, snap)], revision=snap.revision.position)
        if consistency is not Consistency.LOCAL:
            self._heads[agent] = snap.seq
        return "ok"

    def _log_of(self, agent: str, snap: Snapshot) -> tuple[int, int, int]:
        """What was read, as the model has it; a state that does not fit its own seq is put down as wrong."""
        state = snap.state if isinstance(snap.state, dict) else {}
        numbers = state.get("numbers", [])
        told = [number for number in numbers if isinstance(number, int)] if isinstance(numbers, list) else []
        if not len(told) == snap.seq == state.get("count", 0):
            self._team.account.wrong.append(f"{agent} at seq {snap.seq} has {len(told)} numbers: {snap.state!r:.200}")
        return log_of(told)
