"""Who forks agents in a seed's workload, and what must hold of the branches.

Rules of this file:
- What is watched is the truth here: it is folded, as a copy for each branch, into all that each must have. Each node's
  states and logs, which share what they can, must be equal to that.
- Events go with what is deleted, so a watch that resumed may have missed some of them: of what ended later, only its
  end counts. What it could have been the parent of has ended, too.
- Each attempt has a key of its own, so as many branches begin as were asked for at most, and those that were
  acknowledged at least.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from tallystick import (
    Agent,
    BranchDeletedEvent,
    CheckpointEvent,
    Client,
    Consistency,
    DeletedEvent,
    Event,
    ForkedEvent,
    MutationEvent,
    Revision,
    ops,
)
from tallystick.errors import NotFound, TallystickError
from tallystick_node.sim.cluster import SimCluster

PREFIX: Final = "forked-"
AGENTS: Final = 2
FORKERS: Final = 2
MAIN: Final = "main"
NAMES: Final = tuple(f"b{number}" for number in range(8))
PAUSE_S: Final = 0.15
"""Between two operations of a forker, on average."""

_NAMED_AFTER: Final = 0.4
"""How often where a branch began gets a name that the branch must not show."""

Name: TypeAlias = tuple[str, str]
"""Agent and branch."""


@dataclass
class BranchRecords:
    """What was asked and told.

    Attributes:
        asked, begun: how often a branch was to begin, and was acknowledged to have begun.
        appended: branch, position and element of each append that was acknowledged.
        checkpoints: branch, position and name of each that was acknowledged.
        watched: what the watch told of these agents.
    """

    asked: Counter[Name] = field(default_factory=Counter)
    begun: Counter[Name] = field(default_factory=Counter)
    appended: list[tuple[Name, int, str]] = field(default_factory=list)
    checkpoints: list[tuple[Name, int, str]] = field(default_factory=list)
    watched: list[Event] = field(default_factory=list)


def is_forked(event: Event) -> bool:
    """Whether it is of an agent that is forked here."""
    kinds = (MutationEvent, CheckpointEvent, DeletedEvent, ForkedEvent, BranchDeletedEvent)
    return isinstance(event, kinds) and event.agent.startswith(PREFIX)


class Forker:
    """A program of the workload that begins, writes and removes branches."""

    def __init__(self, cluster: SimCluster, records: BranchRecords, name: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._name = name
        self._rng = rng
        self._count = 0
        self._revisions: list[Revision] = []
        self._known = {(f"{PREFIX}{number}", MAIN) for number in range(AGENTS)}

    async def run(self, client: Client, ends_s: float) -> None:
        """Goes on until the time is over."""
        actions = (self._append, self._fork, self._fork_team, self._checkpoint, self._delete_branch, self._delete)
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            action = self._rng.choices(actions, (12, 8, 1, 2, 4, 0.3))[0]
            try:
                await action(client)
            except TallystickError:
                continue  # undecided, or refused, as a name that is taken; what was done is watched

    def _agent(self, client: Client) -> Agent:
        """One that is there, as far as this forker knows."""
        name, branch = self._rng.choice(sorted(self._known))
        return client.agent(name, branch=branch)

    def _element(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"

    async def _append(self, client: Client) -> None:
        agent, element = self._agent(client), self._element()
        appended = await agent.append(ops.append("/log", element))
        self._records.appended.append(((agent.name, agent.branch), appended.revision.position, element))
        self._revisions.append(appended.revision)

    async def _fork(self, client: Client) -> None:
        agent, branch = self._agent(client), self._rng.choice(NAMES)
        at = self._rng.choice((None, None, self._rng.randrange(6)))
        self._records.asked[agent.name, branch] += 1
        await agent.fork(branch, at=at)
        self._records.begun[agent.name, branch] += 1
        self._known.add((agent.name, branch))
        if self._rng.random() < _NAMED_AFTER:
            await self._name_head(agent)

    async def _fork_team(self, client: Client) -> None:
        branch = self._rng.choice(NAMES)
        revision = self._rng.choice([None, *self._revisions[-5:]])
        for number in range(AGENTS):
            self._records.asked[f"{PREFIX}{number}", branch] += 1
        for forked in await client.fork_team(PREFIX, branch, revision):
            self._records.begun[forked.agent, forked.branch] += 1
            self._known.add((forked.agent, forked.branch))

    async def _checkpoint(self, client: Client) -> None:
        await self._name_head(self._agent(client))

    async def _name_head(self, agent: Agent) -> None:
        name = f"checkpoint-{self._element()}"
        taken = await agent.checkpoint(name)
        self._records.checkpoints.append(((agent.name, agent.branch), taken.revision.position, name))

    async def _delete_branch(self, client: Client) -> None:
        agent = self._agent(client)
        await agent.delete_branch()
        self._known.discard((agent.name, agent.branch))

    async def _delete(self, client: Client) -> None:
        agent = client.agent(self._agent(client).name)
        await agent.delete()
        self._known = {name for name in self._known if name[0] != agent.name or name[1] == MAIN}


@dataclass
class _Log:
    """What a branch must have: elements and hashes of all of its mutations, and names of its checkpoints."""

    parent: str
    elements: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    checkpoints: list[tuple[str, int]] = field(default_factory=list)

    def forked(self, seq: int, parent: str) -> _Log:
        shown = [(name, at) for name, at in self.checkpoints if at <= seq]
        return _Log(parent, self.elements[:seq], self.hashes[:seq], shown)


class Fold:
    """All branches that are there after these events; `wrong` is what could not be."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.logs: dict[Name, _Log] = {}
        self.begun: Counter[Name] = Counter()
        self.wrong: list[str] = []
        self._ends: dict[Name | str, int] = {}
        for event in events:
            if isinstance(event, BranchDeletedEvent):
                self._ends[event.agent, event.branch] = event.revision.position
            elif isinstance(event, DeletedEvent):
                self._ends[event.agent] = event.revision.position
        for event in events:
            self._take(event)

    def has_ended(self, name: Name, position: int = 0) -> bool:
        """Whether the branch was deleted after a position."""
        return max(self._ends.get(name, 0), self._ends.get(name[0], 0)) > position

    def _take(self, event: Event) -> None:
        if isinstance(event, ForkedEvent):
            self.begun[event.agent, event.branch] += 1
        if not isinstance(event, (MutationEvent, CheckpointEvent, ForkedEvent)):
            return
        name = (event.agent, event.branch)
        if self.has_ended(name, event.revision.position):
            return
        match event:
            case MutationEvent():
                self._grow(name, event)
            case CheckpointEvent():
                if event.checkpoint.name in dict(self.logs[name].checkpoints):
                    self.wrong.append(f"{name}: {event.checkpoint.name} is there twice")
                self.logs[name].checkpoints.append((event.checkpoint.name, event.checkpoint.seq))
            case ForkedEvent():
                self._begin(name, event)

    def _grow(self, name: Name, event: MutationEvent) -> None:
        log = self.logs.setdefault(name, _Log("")) if event.branch == MAIN else self.logs.get(name)
        if log is None:
            self.wrong.append(f"{name} grew and is not there")
        elif event.mutation.seq != len(log.hashes) + 1:
            self.wrong.append(f"{name}: seq {event.mutation.seq} came at {len(log.hashes)}")
        else:
            log.hashes.append(event.mutation.hash)
            log.elements.append(str(event.mutation.operations[0].value))

    def _begin(self, name: Name, event: ForkedEvent) -> None:
        parent = self.logs.get((event.agent, event.parent))
        if parent is None or name in self.logs or event.fork_seq > len(parent.hashes):
            self.wrong.append(f"{event} cannot be")
            return
        if event.hash != (parent.hashes[event.fork_seq - 1] if event.fork_seq else b""):
            self.wrong.append(f"{name} began with another hash than {event.parent} has there")
        self.logs[name] = parent.forked(event.fork_seq, event.parent)


class Found(NamedTuple):
    """The branches that there are, and all that was decided before they were looked at is up to a position."""

    there: dict[Name, str]
    position: int


async def found(client: Client) -> Found:
    """What there is now: each branch with its parent."""
    there: dict[Name, str] = {}
    for number in range(AGENTS):
        agent = client.agent(f"{PREFIX}{number}")
        try:
            there.update({(info.agent, info.name): info.parent async for info in agent.branches()})
        except NotFound:
            continue
    return Found(there, max((revision.position for revision in client.session), default=0))


async def broken(
    cluster: SimCluster, namespace: str, records: BranchRecords, there: Found, living: Sequence[str]
) -> list[str]:
    """What does not hold, once everything is healed and equal, and the watch has told all up to what was found."""
    fold = Fold(records.watched)
    then = Fold([event for event in records.watched if event.revision.position <= there.position])
    heads = {name: log.parent for name, log in then.logs.items()}
    complaints = [*fold.wrong, *_of_records(records, fold)]
    if heads != there.there:
        complaints.append(f"the watch leaves the branches {sorted(heads)}, and there are {sorted(there.there)}")
    for node in living:
        async with cluster.connect(namespace, nodes=[node], actor="judge") as client:
            for name, log in sorted(fold.logs.items()):
                complaints += [f"{node}: {each}" for each in await _of_branch(client, name, log)]
    return complaints


def _of_records(records: BranchRecords, fold: Fold) -> Iterator[str]:
    for name, asked in records.asked.items():
        at_least = 0 if fold.has_ended(name) else records.begun[name]
        if not at_least <= fold.begun[name] <= asked:
            yield f"{name} was asked for {asked} times, acknowledged {at_least}, and began {fold.begun[name]} times"
    told = {
        event.revision.position: str(event.mutation.operations[0].value)
        if isinstance(event, MutationEvent)
        else event.checkpoint.name
        for event in records.watched
        if isinstance(event, (MutationEvent, CheckpointEvent))
    }
    for name, position, what in (*records.appended, *records.checkpoints):
        if told.get(position) != what and not fold.has_ended(name, position):
            yield f"{what} of {name} was acknowledged at {position} and is not there"


async def _of_branch(client: Client, name: Name, log: _Log) -> list[str]:
    """How a node's branch differs from what it must be: at its head, where it began, and in between."""
    agent = client.agent(name[0], branch=name[1])
    local = Consistency.LOCAL
    complaints = []
    try:
        hashes = [mutation.hash async for mutation in agent.log(consistency=local)]
        checkpoints = [(each.name, each.seq) async for each in agent.checkpoints(consistency=local)]
        if hashes != log.hashes:
            complaints.append(f"{name} has another log than it must have")
        if checkpoints != log.checkpoints:
            complaints.append(f"{name} has the checkpoints {checkpoints}, and must have {log.checkpoints}")
        for seq in {0, len(log.elements) // 2, len(log.elements)}:
            snapshot = await agent.read(seq=seq, consistency=local)
            wanted = {"log": log.elements[:seq]} if seq else {}
            if snapshot.state != wanted:
                complaints.append(f"{name} at {seq} is {snapshot.state}, and must be {wanted}")
    except TallystickError as error:
        complaints.append(f"{name} cannot be read: {error}")
    return complaints
