"""Agents that pay each other by transactions, are cut through and rolled back: what is asked, and what must hold.

Rules of this file:
- Money is neither made nor lost: after each transaction the purses hold `TOTAL` together, and so does every cut.
- Each payment bears an id and how many parts it has, in its cause; so a part that is missing, or there twice, is seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick import Client, Consistency, DecidedMutation, OperationKind, TeamCheckpoint, TeamState, ops
from tallystick.errors import Corrupt, NotFound, Refused, TallystickError, Unavailable
from tallystick_node.sim.cluster import SimCluster

PREFIX: Final = "purse-"
PURSES: Final = tuple(f"{PREFIX}{number}" for number in range(4))
EACH: Final = 100
"""What each begins with."""
TOTAL: Final = EACH * len(PURSES)
PAYERS: Final = 2
PAUSE_S: Final = 0.3
"""Between two things that a payer does, on average."""

_BEGIN_KEY: Final = "begin"


@dataclass
class TeamRecords:
    """What was asked and told.

    Attributes:
        paid: ids of payments that were acknowledged.
        not_paid: ids of those that were refused, or of which no attempt did anything.
        cuts: those that were acknowledged, and not asked to be deleted.
        deleted: names of those whose deletion was acknowledged.
        wrong: what was told and cannot be.
    """

    paid: set[str] = field(default_factory=set)
    not_paid: set[str] = field(default_factory=set)
    cuts: list[TeamCheckpoint] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class Payer:
    """A program that moves money between purses that others move it between, too."""

    def __init__(self, records: TeamRecords, client: Client, name: str, rng: random.Random) -> None:
        self._records = records
        self._client = client
        self._team = client.team(PREFIX)
        self._name = name
        self._rng = rng
        self._count = 0

    async def run(self, cluster: SimCluster, ends_s: float) -> None:
        """Pays until then."""
        has_begun = False
        while cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            actions = (self._pay, self._pay_what_was_read, self._cut, self._read_cut, self._roll_back, self._delete_cut)
            try:
                if has_begun:
                    await self._rng.choices(actions, (8, 8, 2, 2, 2, 1))[0]()
                else:
                    await self._begin()
                    has_begun = True
            except TallystickError:
                continue

    async def _begin(self) -> None:
        """All payers ask for this, and it has one effect."""
        async with self._client.transaction(idempotency_key=_BEGIN_KEY) as team:
            for purse in PURSES:
                team.agent(purse).append(ops.set("/n", EACH), cause=f"pay:{_BEGIN_KEY}/{len(PURSES)}")

    async def _pay(self) -> None:
        """Some to some others; of one in a few a part does not fit."""
        await self._transact({}, is_broken=self._rng.random() < 0.2)

    async def _pay_what_was_read(self) -> None:
        """Only if nobody paid meanwhile: neither from these nor from one that was looked at."""
        heads = {purse: (await self._client.agent(purse).read()).seq for purse in PURSES[:3]}
        await self._transact(heads, is_broken=False)

    async def _transact(self, heads: dict[str, int], *, is_broken: bool) -> None:
        purses = sorted(heads)[:2] or self._rng.sample(PURSES, self._rng.randint(2, len(PURSES)))
        amounts = [self._rng.randint(-9, 9) for _ in purses[1:]]
        self._count += 1
        payment = f"{self._name}.{self._count}"
        try:
            async with self._client.transaction() as team:
                for purse, seq in heads.items():
                    team.agent(purse, expected_seq=seq)
                for purse, amount in zip(purses, [-sum(amounts), *amounts], strict=True):
                    operations = [ops.increment("/n", amount)]
                    if is_broken and purse == purses[-1]:
                        operations.append(ops.delete("/missing"))
                    team.agent(purse).append(*operations, cause=f"pay:{payment}/{len(purses)}")
        except (Refused, Unavailable):
            self._records.not_paid.add(payment)
            raise
        if is_broken:
            self._records.wrong.append(f"payment {payment} was acknowledged, and a part of it does not fit")
        self._records.paid.add(payment)

    async def _cut(self) -> None:
        self._count += 1
        self._records.cuts.append(await self._team.checkpoint(f"{self._name}.{self._count}"))

    async def _read_cut(self) -> None:
        """Whichever node answers."""
        if self._records.cuts:
            cut = self._rng.choice(self._records.cuts)
            states = await self._team.rehydrate(cut.name, consistency=Consistency.SESSION)
            self._records.wrong += complaints_of_states(cut, states)

    async def _roll_back(self) -> None:
        if self._records.cuts:
            await self._team.roll_back(self._rng.choice(self._records.cuts).name)

    async def _delete_cut(self) -> None:
        """From here on nobody says whether it is there, unless the deletion was acknowledged."""
        if self._records.cuts:
            cut = self._records.cuts.pop(self._rng.randrange(len(self._records.cuts)))
            await self._team.delete_checkpoint(cut.name)
            self._records.deleted.add(cut.name)


def complaints_of_states(cut: TeamCheckpoint, states: Sequence[TeamState]) -> Iterator[str]:
    """What cannot be of the states of a cut."""
    if [state.member for state in states] != list(cut.members) or any(state.is_gone for state in states):
        yield f"cut {cut.name} has other agents than it had"
    found = sum(_amount(state) for state in states)
    if found != TOTAL:
        yield f"in cut {cut.name} there are {found}"


async def broken(cluster: SimCluster, client: Client, records: TeamRecords, living: Iterable[str]) -> list[str]:
    """What does not hold, once everything is healed and all nodes are equal."""
    there = [info.name async for info in client.agents(prefix=PREFIX)]
    entries = [Entry(purse, each) for purse in there async for each in client.agent(purse).log()]
    ledger = Ledger()
    complaints = [*records.wrong, *ledger.follow(entries), *ledger.compare(records)]
    names = {cut.name async for cut in client.team().checkpoints()}
    complaints += [f"cut {name} was deleted and is there" for name in sorted(records.deleted & names)]
    for cut in records.cuts:
        if cut.name not in names:
            complaints.append(f"cut {cut.name} was acknowledged and is not there")
        complaints += ledger.compare_cut(cut)
    for node in living:
        complaints += [f"{node}: {each}" for each in await _local_states(cluster, client.namespace, node, records)]
    return complaints


async def _local_states(cluster: SimCluster, namespace: str, node: str, records: TeamRecords) -> list[str]:
    """What cannot be of the cuts as one node has them."""
    complaints: list[str] = []
    async with cluster.connect(namespace, nodes=[node]) as local:
        for cut in records.cuts:
            try:
                states = await local.team().rehydrate(cut.name, consistency=Consistency.LOCAL)
            except (Corrupt, NotFound) as error:
                complaints.append(f"cut {cut.name}: {error}")
            else:
                complaints += complaints_of_states(cut, states)
    return complaints


class Entry(NamedTuple):
    """A mutation of a purse."""

    purse: str
    mutation: DecidedMutation

    @property
    def position(self) -> int:
        """Where it was decided."""
        return self.mutation.revision.position


class Ledger:
    """What the logs of all purses say, in the order in which it was decided."""

    def __init__(self) -> None:
        self._balances: dict[str, int] = {}
        self._seqs: dict[int, dict[str, int]] = {}
        self._payments: dict[str, int] = {}

    def follow(self, entries: Iterable[Entry]) -> Iterator[str]:
        """Complaints: each payment is whole and there once, and after each transaction there is `TOTAL`."""
        for together in _transactions(sorted(entries, key=lambda entry: entry.position)):
            first, last = together[0].position, together[-1].position
            cause = together[0].mutation.cause
            if last - first + 1 != len(together):
                yield f"{cause} is not at consecutive positions"
            payment, _, parts = cause.removeprefix("pay:").partition("/")
            if cause.startswith("pay:"):
                self._payments[payment] = self._payments.get(payment, 0) + 1
                if len(together) != int(parts):
                    yield f"payment {payment} has {len(together)} of {parts} parts"
            for entry in together:
                self._apply(entry)
            self._seqs[last] = {entry.purse: entry.mutation.seq for entry in together}
            if sum(self._balances.values()) != TOTAL:
                yield f"after {cause} at {last} there are {sum(self._balances.values())}"
        yield from (f"{payment} was paid {count} times" for payment, count in self._payments.items() if count != 1)

    def compare(self, records: TeamRecords) -> Iterator[str]:
        """Complaints: what was acknowledged is there, what was not done is not."""
        yield from (f"{payment} was acknowledged and is not there" for payment in records.paid - self._payments.keys())
        yield from (f"{payment} was refused and is there" for payment in records.not_paid & self._payments.keys())

    def compare_cut(self, cut: TeamCheckpoint) -> Iterator[str]:
        """Complaints: a cut has each purse where its log ended at the cut's position."""
        seqs: dict[str, int] = {}
        for position, changed in self._seqs.items():
            if position < cut.revision.position:
                seqs |= changed
        if seqs != {member.agent: member.seq for member in cut.members}:
            yield f"cut {cut.name} has not the seqs of its position"

    def _apply(self, entry: Entry) -> None:
        for operation in entry.mutation.operations:
            value = operation.value
            match operation.kind:
                case OperationKind.INCREMENT if isinstance(value, int):
                    self._balances[entry.purse] += value
                case OperationKind.SET if isinstance(value, int):
                    self._balances[entry.purse] = value
                case OperationKind.REPLACE if isinstance(value, dict) and isinstance(value["n"], int):
                    self._balances[entry.purse] = value["n"]
                case _:
                    raise ValueError(f"nobody asked for {operation}")


def _transactions(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries of one cause that follow one another; in one transaction a purse is there once."""
    together: list[Entry] = []
    for entry in entries:
        is_next = together and (
            entry.mutation.cause != together[0].mutation.cause or entry.purse in {each.purse for each in together}
        )
        if is_next:
            yield together
            together = []
        together.append(entry)
    if together:
        yield together


def _amount(state: TeamState) -> int:
    amount = state.state.get("n") if isinstance(state.state, dict) else None
    return amount if isinstance(amount, int) else 0
