"""What must hold at the end of a seed, whatever happened.

Rules of this file:
- A check that ran out of its budget proves nothing and fails nothing; the witness check, which needs none, is the one
  that decides. What the logs say of undecided writes is told to it, so that it has to guess little.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, NoReturn, TypeVar

from tallystick import Client, Consistency, ContextInfo, ops
from tallystick.testing import verdict
from tallystick.testing.history import History
from tallystick.testing.linearizability import check_linearizability
from tallystick.testing.local_wait import eventually
from tallystick.testing.models import Model, append_only_list, counter, register
from tallystick.testing.sessions import check_sessions
from tallystick.testing.verdict import Report, Verdict
from tallystick.testing.watches import Event, Stream, check_watch
from tallystick.testing.witness import check_witness
from tallystick_node.sim import (
    branches,
    causality,
    contexts,
    editing,
    leases,
    payloads,
    retention,
    schemas,
    steps,
    teams,
)
from tallystick_node.sim.cluster import SimCluster, SimulationFailed
from tallystick_node.sim.settled import settled
from tallystick_node.sim.workload import (
    KEYS,
    NAMESPACE,
    Records,
    read,
    watched_checkpoint,
    watched_mutation,
)

S = TypeVar("S", bound=Hashable)

SEARCH_STEPS: Final = 20_000
"""Of the search for an order, for each kind of agent: some tenths of a second."""
RECOVERY_S: Final = 60.0
"""Within which a healed cluster decides, is equal, and has told its watches everything."""


class PromiseBroken(AssertionError):
    """What the store promises did not hold.

    Attributes:
        kind: which promise: two failures of one kind are taken for the same.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


async def recover(cluster: SimCluster, records: Records, come_back: Callable[[], Awaitable[None]]) -> None:
    """Heals everything, lets the cluster come to rest, and judges what happened.

    Args:
        come_back: whoever was away hands in what they have.
    """
    cluster.heal()
    for name in cluster.node_ids:
        cluster.heal_disk(name)
        cluster.resume(name)
    await _until(lambda: not any(node.is_ending for node in cluster.nodes.values()), "all that were to end have ended")
    for node in cluster.nodes.values():
        node.start()
        if cluster.has_contexts:
            cluster.wake_worker(node.name)
    await asyncio.sleep(1.0)  # a rotten one ends when it has looked
    living = [name for name, node in cluster.nodes.items() if node.failure is None]
    try:
        cluster.check()
    except SimulationFailed as error:
        raise PromiseBroken("node", str(error)) from error
    if 2 * len(living) <= len(cluster.nodes):
        return  # one is rotten, another's torn write looks like damage: without a majority nobody may be answered
    async with cluster.connect(NAMESPACE, timeout_s=RECOVERY_S, actor="judge") as client:
        await _read_all(cluster, records, client)
        documents = await contexts.found(client)
        forked = await branches.found(client)
        await client.agent("judge").append(ops.set("/listed", value=True))  # where the watch has seen all before
        try:
            await cluster.wait_equal(among=living, within_s=RECOVERY_S)
        except AssertionError as error:
            _fail("digests" if "differ" in str(error) else "stuck", str(error))
        log = await _log(client, records)
        await _local_reads(cluster, records, living)
        await _watched_all(log.events, records)
        for complaint in await steps.broken(cluster, client, records.steps, living):
            _fail("steps", complaint)
        for complaint in await teams.broken(cluster, client, records.teams, living):
            _fail("teams", complaint)
        if cluster.has_contexts:
            await _until(lambda: all(cluster.nodes[name].has_documents for name in living), "the documents are open")
            await come_back()
            await _documents(cluster, records, documents.there, living)
        for complaint in await branches.broken(cluster, NAMESPACE, records.branches, forked, living):
            _fail("branches", complaint)
        for complaint in await retention.broken(cluster, records.retention, living):
            _fail("retention", complaint)
        for complaint in await causality.broken(cluster, client, records.causality, living):
            _fail("causality", complaint)
        for complaint in await leases.broken(client, records.leases, RECOVERY_S):
            _fail("leases", complaint)
        for complaint in await contexts.broken(client, documents, records.contexts):
            _fail("contexts", complaint)
        for complaint in await payloads.broken(cluster, client, records.payloads, living, payloads.GONE_S):
            _fail("payloads", complaint)
        for complaint in await schemas.broken(client, records.schemas):
            _fail("schemas", complaint)
    judge(records, log.events, settled(records.history, log.places, at_s=cluster.now_s))


async def _documents(
    cluster: SimCluster, records: Records, there: Sequence[ContextInfo], living: Sequence[str]
) -> None:
    """What is in those that there are is what it must be, and nothing is left of the others."""
    for guid in (info.guid for info in there if info.name == editing.NAME):
        for complaint in await editing.judge(cluster, records.edits[guid], living):
            _fail("documents", complaint)
    gone = records.contexts.asked.keys() - {info.guid for info in there}
    await _until(
        lambda: all(not cluster.nodes[name].held_documents & gone for name in living), "what was deleted is forgotten"
    )


def judge(records: Records, log: list[Event], history: History) -> None:
    """Raises PromiseBroken for the first promise that does not hold.

    Args:
        history: that of the records, perhaps with more known of it.
    """
    for report in (
        *_reports(_of_kind(history, "list"), append_only_list()),
        *_reports(_of_kind(history, "count"), counter()),
        *_reports(_of_kind(history, "cell"), register()),
    ):
        _require(report)
    _require(check_sessions(history))
    _require(check_watch(log, [Stream(0, records.watched)], reached=log[-1].revision if log else None))
    _nothing_lost(records)


def _reports(history: History, model: Model[S]) -> Iterator[Report]:
    yield check_witness(history, model)
    yield check_linearizability(history, model, budget=verdict.steps(SEARCH_STEPS))


def _of_kind(history: History, kind: str) -> History:
    return history.select(lambda operation: operation.key.startswith(kind))


def _require(report: Report) -> None:
    if report.verdict is Verdict.INVALID:
        _fail(report.checker, str(report))


def _nothing_lost(records: Records) -> None:
    """Every acknowledged append is in its list, once, by the last read of it."""
    lists: dict[str, Counter[str]] = {}
    for operation in records.history:
        if operation.kind == "read" and isinstance(operation.result, list):
            lists[operation.key] = Counter(str(element) for element in operation.result)
    for agent, element in records.acknowledged:
        count = lists[agent][element]
        if count != 1:
            _fail("lost" if not count else "twice", f"{element} was acknowledged and is {count} times in {agent}")


async def _read_all(cluster: SimCluster, records: Records, client: Client) -> None:
    before = len(records.history)
    for kind in ("list", "count", "cell"):
        for number in range(KEYS):
            await read(cluster, records, client.agent(f"{kind}-{number}"), "judge", Consistency.LINEARIZABLE)
    if any(operation.outcome != "ok" for operation in records.history[before:]):
        _fail("stuck", "the healed cluster does not answer")


async def _local_reads(cluster: SimCluster, records: Records, living: Iterable[str]) -> None:
    """What each node itself has is part of the history, too."""
    for name in living:
        async with cluster.connect(NAMESPACE, nodes=[name], timeout_s=RECOVERY_S) as client:
            for kind in ("list", "count", "cell"):
                for number in range(KEYS):
                    agent = client.agent(f"{kind}-{number}")
                    await read(cluster, records, agent, f"judge of {name}", Consistency.LOCAL)


class _Log(NamedTuple):
    """All that was decided of agents: in order, and where each element is."""

    events: list[Event]
    places: dict[tuple[str, str], int]


async def _log(client: Client, records: Records) -> _Log:
    """What the agents' own logs say, and that no acknowledged checkpoint is missing."""
    events: list[Event] = []
    places: dict[tuple[str, str], int] = {}
    taken: set[tuple[str, str]] = set()
    async for info in client.agents():
        if info.name.startswith((branches.PREFIX, payloads.PREFIX)):
            continue
        agent = client.agent(info.name)
        async for each in agent.log():
            events.append(watched_mutation(info.name, each.revision.position))
            for operation in each.operations:
                places.setdefault((info.name, str(operation.value)), each.revision.position)
        async for checkpoint in agent.checkpoints():
            events.append(watched_checkpoint(info.name, checkpoint.revision.position))
            taken.add((info.name, checkpoint.name))
    for wanted in records.checkpoints:
        if wanted not in taken:
            _fail("lost", f"checkpoint {wanted[1]} of {wanted[0]} was acknowledged and is not there")
    return _Log(sorted(events, key=lambda event: event.revision), places)


async def _watched_all(log: list[Event], records: Records) -> None:
    """The watch gets to the end, in its time."""
    ends = log[-1].revision if log else 0
    await _until(lambda: (records.watched[-1].revision if records.watched else 0) >= ends, f"the watch gets to {ends}")


async def _until(is_so: Callable[[], bool], what: str) -> None:
    async def look() -> bool:
        return is_so()

    try:
        await eventually(look, within_s=RECOVERY_S, what=what)
    except AssertionError as error:
        _fail("stuck", str(error))


def _fail(kind: str, text: str) -> NoReturn:
    raise PromiseBroken(kind, text)
