"""Agents that do things once, and die while they do them: what they ask and are told, and what must hold of it.

Rules of this file:
- A stepper that dies forgets everything but what the world keeps: the effects that happened, each with its key.
- Whatever is told of a step, at any time, is what it completed with in the end.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick import JSON, Agent, Client, Consistency, DecidedMutation, Happened, Step, StepStatus
from tallystick.errors import TallystickError
from tallystick.steps import OnAmbiguous
from tallystick_node.sim.cluster import SimCluster

STEPPERS: Final = 2
AGENTS: Final = ("steps-0", "steps-1")
NAMES: Final = 16
"""Steps of an agent."""
PAUSE_S: Final = 0.3
"""Between two things that a stepper does, on average."""
EFFECT_S: Final = 0.2
"""How long an effect takes, on average."""


class Effect(NamedTuple):
    """Something that happened to the world."""

    agent: str
    step: str
    key: str
    value: str


@dataclass
class StepRecords:
    """What happened, and what steppers were told: agent, step and result."""

    effects: list[Effect] = field(default_factory=list)
    told: list[tuple[str, str, JSON]] = field(default_factory=list)


class _DiedError(BaseException):
    """The stepper's process is gone: nobody hears of it."""


class Stepper:
    """One process after another that goes through the steps of agents that others go through, too."""

    def __init__(self, records: StepRecords, client: Client, name: str, rng: random.Random) -> None:
        self._records = records
        self._client = client
        self._name = name
        self._rng = rng
        self._count = 0

    async def run(self, cluster: SimCluster, ends_s: float) -> None:
        """Lives until then, again and again."""
        while cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            agent = self._client.agent(self._rng.choice(AGENTS))
            try:
                act = self._rng.choices((self._step, self._turn, self._meddle), (4, 2, 2))[0]
                await act(agent)
            except (TallystickError, _Failed, _DiedError):
                continue

    async def _turn(self, agent: Agent) -> None:
        on_open = self._rng.choices(("raise", "resume", "abandon"), (1, 2, 2))[0]
        match on_open:
            case "resume":
                turn = agent.turn(on_open="resume")
            case "abandon":
                turn = agent.turn(on_open="abandon")
            case _:
                turn = agent.turn()
        async with turn:
            await self._step(agent)

    async def _step(self, agent: Agent) -> None:
        name = self._name_step()
        fate = self._rng.choices(("happens", "fails", "dies before", "dies after"), (6, 1, 1, 1))[0]

        async def effect(*, effect_key: str) -> str:
            await asyncio.sleep(self._rng.expovariate(1 / EFFECT_S))
            if fate == "fails":
                raise _Failed(self._name)
            if fate == "dies before":
                raise _DiedError
            self._count += 1
            value = f"{self._name}.{self._count}"
            self._records.effects.append(Effect(agent.name, name, effect_key, value))
            if fate == "dies after":
                raise _DiedError
            return value

        rules: tuple[OnAmbiguous, ...] = ("raise", "retry", "fail", self._probe)
        result = await agent.step(name, effect, on_ambiguous=self._rng.choice(rules), on_failed="retry")
        self._records.told.append((agent.name, name, result))

    async def _meddle(self, agent: Agent) -> None:
        """As a program with a mistake in it: begins and ends what it may not."""
        name, attempt = self._name_step(), self._rng.randrange(4)
        if self._rng.random() < 0.5:
            await agent.steps.begin(name, retry_of=attempt)
        else:
            await agent.steps.complete(name, attempt, f"{self._name} meddled")

    def _name_step(self) -> str:
        return f"step-{self._rng.randrange(NAMES)}"

    def _probe(self, step: Step) -> Happened | None:
        happened = [effect.value for effect in self._records.effects if effect.key == step.effect_key]
        return Happened(happened[-1]) if happened else None


class _Failed(Exception):
    """The effect did not happen."""


async def broken(cluster: SimCluster, client: Client, records: StepRecords, living: Iterable[str]) -> list[str]:
    """What does not hold, once everything is healed and all nodes are equal."""
    complaints: list[str] = []
    there = [info.name async for info in client.agents(prefix="steps-")]
    for agent in there:
        log = [mutation async for mutation in client.agent(agent).log()]
        complaints += [f"{agent}: {complaint}" for complaint in complaints_of_turns(log)]
        attempts = Attempts()
        complaints += [f"{agent}: {complaint}" for complaint in attempts.follow(log)]
        complaints += [f"{agent}: {complaint}" for complaint in attempts.compare(agent, records)]
        for node in living:
            async with cluster.connect(client.namespace, nodes=[node]) as local:
                steps = local.agent(agent).steps.list(results=True, consistency=Consistency.LOCAL)
                if (seen := {step.name: step async for step in steps}) != attempts.expected(seen):
                    complaints.append(f"{agent}: what {node} knows of its steps is not what its log says")
    lost = {agent for agent, _, _ in records.told} - set(there)
    return complaints + [f"{agent} is gone, and its steps were told" for agent in sorted(lost)]


class Attempts:
    """What a log says of steps: their attempts, and how the newest ended."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, StepStatus, JSON]] = {}

    def follow(self, log: Iterable[DecidedMutation]) -> Iterator[str]:
        """Complaints: attempts begin in order, one ends once, completed is for good."""
        for mutation in log:
            payload = mutation.payload
            if not mutation.kind.startswith("step.") or not isinstance(payload, dict):
                continue
            name, attempt = str(payload["step"]), payload["attempt"]
            number, status, _ = self._newest.get(name, (0, StepStatus.FAILED, None))
            if mutation.kind == "step.begun":
                if attempt != number + 1 or status is StepStatus.COMPLETED:
                    yield f"attempt {attempt} at {name} was begun after attempt {number}, which is {status}"
                self._newest[name] = (number + 1, StepStatus.BEGUN, None)
            else:
                if attempt != number or status is not StepStatus.BEGUN:
                    yield f"attempt {attempt} at {name} ended, and attempt {number} is {status}"
                ended = StepStatus.COMPLETED if mutation.kind == "step.completed" else StepStatus.FAILED
                self._newest[name] = (number, ended, payload.get("result"))

    def compare(self, agent: str, records: StepRecords) -> Iterator[str]:
        """Complaints: what was told is the result, each effect is of an attempt, and all of a step have one key."""
        for told_of, name, result in records.told:
            if told_of == agent and self._newest.get(name, (0, None, None))[1:] != (StepStatus.COMPLETED, result):
                yield f"{name} was told to have returned {result}, and is {self._newest.get(name)}"
        effects = [effect for effect in records.effects if effect.agent == agent]
        keys = {(effect.step, effect.key) for effect in effects}
        for name, count in Counter(effect.step for effect in effects).items():
            if count > self._newest.get(name, (0,))[0]:
                yield f"{name} happened {count} times, and there are fewer attempts"
            if sum(step == name for step, _ in keys) != 1:
                yield f"{name} has more than one key"

    def expected(self, seen: dict[str, Step]) -> dict[str, Step] | None:
        """The steps that were seen, if they are those of the log."""
        found = {name: (step.attempt, step.status, step.result) for name, step in seen.items()}
        return seen if found == self._newest else None


def complaints_of_turns(log: Iterable[DecidedMutation]) -> Iterator[str]:
    """One is open at a time; it ends, or is abandoned, by its name."""
    opened = 0
    for mutation in log:
        payload = mutation.payload
        if not mutation.kind.startswith("turn.") or not isinstance(payload, dict):
            continue
        begins = mutation.kind == "turn.begun"
        named = payload["abandons" if begins else "turn"]
        if named != opened or not (begins or named):
            yield f"{mutation.kind} at {mutation.seq} names {named}, and {opened} is open"
        opened = mutation.seq if begins else 0
