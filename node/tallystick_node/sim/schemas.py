"""Who registers schemas in a seed's workload, and who writes what they are of; and what must hold of it.

Each version allows numbers up to ten times its own: so of each number it can be told by which versions it is allowed.

Rules of this file:
- Writers name any version, or none, and write whatever they like: it is the cluster that must refuse.
- What is judged is what the logs say, at the positions where it was decided, against what was registered by then.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick import JSON, Client, DecidedMutation, OperationKind, Schema, ops
from tallystick.errors import NotFound, Reason, Refused, TallystickError
from tallystick_node.sim.cluster import SimCluster

PREFIX: Final = "limited-"
STATES: Final = f"state of {PREFIX}"
KIND: Final = "limited"
EVENTS: Final = f"event {KIND}"
AGENTS: Final = 2
WRITERS: Final = 2
PAUSE_S: Final = 0.2
"""Between two writes of a writer, on average."""
REGISTER_S: Final = 2.0
"""Between two registrations of a writer, on average."""
_STEP: Final = 10
_REFUSALS: Final = frozenset((Reason.SCHEMA_VIOLATION, Reason.SCHEMA_NOT_FOUND, Reason.STATE_VERSION))


@dataclass
class SchemaRecords:
    """What was told.

    Attributes:
        written: agent and id of each write that was acknowledged.
        registered: subject and version of each registration that was.
        wrong: answers that were wrong by themselves.
    """

    written: list[tuple[str, bytes]] = field(default_factory=list)
    registered: list[tuple[str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Limited:
    """A program of the workload."""

    def __init__(self, cluster: SimCluster, records: SchemaRecords, client: Client, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._client = client
        self._rng = rng
        self._newest = 0

    async def run(self, ends_s: float) -> None:
        """Registers and writes until the time is over."""
        next_s = self._cluster.now_s
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            try:
                if self._cluster.now_s >= next_s:
                    await self._register()
                    next_s = self._cluster.now_s + self._rng.expovariate(1 / REGISTER_S)
                else:
                    await self._write()
            except Refused as error:
                if error.reason not in _REFUSALS | {Reason.SCHEMA_CONFLICT}:
                    self._records.wrong.append(f"a schema's writer was told: {error}")
            except TallystickError:
                continue

    async def _register(self) -> None:
        """The version behind the newest that this writer knows; another may have been quicker."""
        subject = self._rng.choice((STATES, EVENTS))
        try:
            newest = (await self._client.schemas.get(subject)).version
        except NotFound:
            newest = 0
        self._newest = max(self._newest, newest)
        document = _document(newest + 1)
        kept = await self._client.schemas.register(subject, document, version=newest + 1)
        self._records.registered.append((subject, kept.version))
        if kept.document != document:
            self._records.wrong.append(f"{subject} {kept.version} was answered with {kept.document!r}")

    async def _write(self) -> None:
        agent = self._client.agent(f"{PREFIX}{self._rng.randrange(AGENTS)}")
        version = self._rng.choice((0, 0, self._rng.randint(0, self._newest + 1)))
        number = self._rng.randint(-_STEP, _STEP * (self._newest + 1))
        if self._rng.random() < 0.3:
            appended = await agent.record(KIND, {"n": number}, schema_version=version)
        elif self._rng.random() < 0.3:
            async with self._client.transaction() as team:
                team.agent(agent.name).append(ops.set("/n", number), schema_version=version)
                team.agent(f"{PREFIX}team").append(ops.set("/n", number))
            return
        else:
            appended = await agent.append(ops.increment("/n", self._rng.randint(1, _STEP)), schema_version=version)
        self._records.written.append((agent.name, appended.hash))


def _document(version: int) -> dict[str, JSON]:
    return {"type": "object", "properties": {"n": {"type": "integer", "maximum": _STEP * version}}}


async def broken(client: Client, records: SchemaRecords) -> list[str]:
    """What does not hold, once everything is healed."""
    complaints = list(records.wrong)
    schemas = {subject: [each async for each in client.schemas.list(subject)] for subject in (STATES, EVENTS)}
    for subject, versions in schemas.items():
        if [each.version for each in versions] != list(range(1, len(versions) + 1)):
            complaints.append(f"{subject} has the versions {[each.version for each in versions]}")
    for subject, version in records.registered:
        kept = await client.schemas.get(subject, version=version) if version <= len(schemas[subject]) else None
        if kept is None or kept.document != _document(version):
            complaints.append(f"version {version} of {subject} was acknowledged and is another")
    for name in (*range(AGENTS), "team"):
        complaints += await _of_agent(client, f"{PREFIX}{name}", schemas, records)
    return complaints


async def _of_agent(client: Client, name: str, schemas: dict[str, list[Schema]], records: SchemaRecords) -> list[str]:
    agent = client.agent(name)
    try:
        entries = [entry async for entry in agent.log()]
        told = (await agent.read()).state_version
    except NotFound:
        entries, told = [], 0
    complaints = [*_of_events(name, entries, schemas[EVENTS])]
    version, wrong = _of_states(name, entries, schemas[STATES])
    complaints += wrong
    if told != version:
        complaints.append(f"the state of {name} is told to have version {told}, and has {version}")
    there = Counter(entry.hash for entry in entries)
    lost = [hash_ for agent_name, hash_ in records.written if agent_name == name and there[hash_] != 1]
    return [*complaints, *(f"{hash_.hex()} was acknowledged and is not in {name} once" for hash_ in lost)]


def _of_events(name: str, entries: Sequence[DecidedMutation], schemas: Sequence[Schema]) -> Iterator[str]:
    for entry in entries:
        newest = _newest(schemas, entry)
        if entry.kind != KIND or not newest:
            continue
        version = entry.mutation.schema_version or newest
        if version > newest:
            yield f"{name} {entry.seq} names version {version}, and {newest} was the newest"
        elif not isinstance(entry.payload, dict) or _number(entry.payload["n"]) > _STEP * version:
            yield f"{name} {entry.seq}: {entry.payload} breaks version {version} of {EVENTS}"


def _of_states(name: str, entries: Sequence[DecidedMutation], schemas: Sequence[Schema]) -> tuple[int, list[str]]:
    """The version of the state, and what does not hold of it."""
    version, number, complaints = 0, 0, []
    for entry in entries:
        for operation in entry.operations:
            value = _number(operation.value)
            number = value if operation.kind is OperationKind.SET else number + value
        newest = _newest(schemas, entry)
        if not entry.operations or not newest:
            continue
        asked = entry.mutation.schema_version
        if asked > newest or (asked and asked < version):
            complaints.append(f"{name} {entry.seq} names version {asked} of {newest}, and the state had {version}")
        version = asked or version or newest
        if number > _STEP * version:
            complaints.append(f"{name} {entry.seq}: {number} breaks version {version} of {STATES}")
    return version, complaints


def _number(value: JSON) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def _newest(schemas: Sequence[Schema], entry: DecidedMutation) -> int:
    """The newest version that was registered where this was decided."""
    return sum(each.revision.position < entry.revision.position for each in schemas)
