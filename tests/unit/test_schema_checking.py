"""What is decided was checked on what it is decided on, whoever writes in between; over a real database, consensus is
left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.errors import Overloaded, Reason, Refused, Undecided
from tallystick.v1 import state_pb2
from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.core.commands import Append, Command, Part, Transact
from tallystick_node.core.outcomes import Appended, Outcome, Refusal, Transacted
from tallystick_node.core.schema_records import RegisterSchema, SchemaOf, Subject
from tallystick_node.schemas.checking import ATTEMPTS, Asked, Checks
from tallystick_node.schemas.validators import Validators
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import Head
from tallystick_node.wire.commands import decode_commands
from tallystick_node.wire.mutations import admit_mutations
from tests.unit.database_support import START_MS, apply_each, target

AT_MOST_10 = b'{"properties":{"n":{"maximum":10}}}'
ANYTHING = b"{}"
STATES = Subject(SchemaOf.STATE, "")
EVENTS = Subject(SchemaOf.EVENT, "seen")


class Decided(Access):
    """Decides at once what is proposed. `between`: what happens before; `behind`: what this node has yet to apply."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.between: Callable[[], object] | None = None
        self.behind: list[Command] = []
        self.proposed = 0
        self.is_asked, self.is_open = asyncio.Event(), asyncio.Event()
        self.is_open.set()

    async def propose(self, data: bytes, timeout_s: float) -> tuple[Outcome, ...]:
        self.proposed += 1
        self.is_asked.set()
        await self.is_open.wait()
        assert self.proposed < 100
        if self.between is not None:
            self.between()
        commands = decode_commands(data)
        (applied,) = self._database.apply([(self._database.applied_index + 1, 1, commands, None)])
        return tuple(each.outcome for each in applied)

    async def ready(self, read_from: ReadFrom) -> None:
        assert read_from.consistency is Consistency.LINEARIZABLE
        apply_each(self._database, *self.behind)
        self.behind.clear()


class Place:
    """A node that checks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.access = Decided(database)
        self.checks = Checks(self.access, database.reads.registry, Validators())

    def register(self, subject: Subject, document: bytes) -> RegisterSchema:
        version = self.database.reads.registry.newest_version("demo", subject) + 1
        return RegisterSchema(START_MS, "demo", subject, version, document)

    def other(self, amount: int) -> Append:
        """What another node has decided, who knows what holds."""
        registry = self.database.reads.registry
        found = registry.head(target())
        asked = incremented(amount).command
        head = found.log.hash if found is not None else b""
        return Append(START_MS, target(), asked.mutations, schemas=registry.position("demo"), head=head)

    async def decide(self, *asked: Asked) -> list[object]:
        """Seq of each, or the reason why not."""
        decided = await self.checks.decide(asked, 5.0)
        return [each.last_seq if isinstance(each, Appended) else _reason(each) for each in decided]

    @property
    def state(self) -> bytes:
        return self.database.reads.read_state(target(), Head()).state


def _reason(outcome: object) -> Reason:
    assert isinstance(outcome, Refusal | Refused)
    return outcome.reason


def incremented(amount: int, key: str = "", agent: str = "a") -> Asked:
    operation = state_pb2.Operation(kind=state_pb2.OPERATION_KIND_INCREMENT, path="/n", value=b"%d" % amount)
    return asked_of(state_pb2.Mutation(operations=[operation]), key, agent)


def seen(payload: bytes) -> Asked:
    return asked_of(state_pb2.Mutation(kind="seen", payload=payload))


def asked_of(message: state_pb2.Mutation, key: str = "", agent: str = "a") -> Asked:
    return Asked(Append(START_MS, target(agent), admit_mutations([message])), [message], key)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    database = Database.open(tmp_path / "state.db")
    yield Place(database)
    database.close()


async def test_what_is_not_valid_leaves_no_trace(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    wanted = [1, Reason.SCHEMA_VIOLATION, 2]
    assert await place.decide(incremented(8), incremented(3), incremented(2)) == wanted
    assert place.state == b'{"n":10}'
    assert place.access.proposed == 2


async def test_it_is_checked_again_where_another_wrote_in_between(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    others = [4, 3]
    place.access.between = lambda: apply_each(place.database, place.other(others.pop())) if others else None
    assert await place.decide(incremented(5)) == [Reason.SCHEMA_VIOLATION]
    assert place.state == b'{"n":7}'
    place.access.between = None
    assert await place.decide(incremented(3)) == [3]


async def test_a_stream_keeps_its_order_where_another_wrote_in_between(place: Place) -> None:
    """As many mutations of another as were refused: seqs come out right, and the state does not."""
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    others = [7]
    place.access.between = lambda: apply_each(place.database, place.other(others.pop())) if others else None
    wanted = [2, Reason.SCHEMA_VIOLATION, 3]
    assert await place.decide(incremented(1), incremented(5), incremented(2)) == wanted
    assert place.state == b'{"n":10}'


async def test_it_is_checked_again_where_a_schema_was_registered_in_between(place: Place) -> None:
    registered = [(EVENTS, b'{"type":"object"}'), (STATES, AT_MOST_10)]

    def register() -> None:
        if registered:
            apply_each(place.database, place.register(*registered.pop()))

    place.access.between = register
    wanted = [1, Reason.SCHEMA_VIOLATION, Reason.SCHEMA_VIOLATION]
    assert await place.decide(incremented(9), incremented(2), seen(b"1")) == wanted
    assert place.database.reads.registry.version_at(target(), 1) == 1


async def test_it_gives_up_in_the_end(place: Place) -> None:
    apply_each(place.database, place.register(STATES, ANYTHING))
    place.access.between = lambda: apply_each(place.database, place.other(1))
    with pytest.raises(Overloaded):
        await place.decide(incremented(1))
    assert place.state == b'{"n":%d}' % ATTEMPTS


async def test_what_was_decided_before_it_gave_up_is_not_denied(place: Place) -> None:
    """As of a stream: the first append stands, so nobody may be told that nothing happened."""
    apply_each(place.database, place.register(Subject(SchemaOf.STATE, "a"), ANYTHING))
    writes = iter(range(100))
    place.access.between = lambda: apply_each(place.database, place.other(1)) if next(writes) else None
    with pytest.raises(Undecided):
        await place.decide(incremented(1, agent="free"), incremented(1))


async def test_who_waits_for_another_s_turn_does_so_until_its_deadline(place: Place) -> None:
    apply_each(place.database, place.register(STATES, ANYTHING))
    place.access.is_open.clear()
    first = asyncio.create_task(place.decide(incremented(1)))
    await place.access.is_asked.wait()
    with pytest.raises(Overloaded):
        await place.checks.decide([incremented(1)], 0.01)
    place.access.is_open.set()
    assert await first == [1]
    assert place.checks._turns == {}


async def test_a_node_that_is_behind_catches_up_before_it_refuses(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10), place.register(EVENTS, b'{"type":"object"}'))
    apply_each(place.database, place.other(8))
    place.access.behind = [place.other(-5)]
    assert await place.decide(incremented(4)) == [3]
    place.access.behind = [place.register(EVENTS, ANYTHING)]
    assert await place.decide(seen(b"1")) == [4]
    assert await place.decide(incremented(4)) == [Reason.SCHEMA_VIOLATION]


async def test_what_core_refuses_is_its_to_refuse(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    deep = state_pb2.Operation(kind=state_pb2.OPERATION_KIND_DELETE, path="/missing")
    unfit = asked_of(state_pb2.Mutation(operations=[deep]))
    unknown = asked_of(state_pb2.Mutation(operations=incremented(1).messages[0].operations, schema_version=9))
    late = incremented(99)
    late = late._replace(command=replace(late.command, expected_seq=7))
    wanted = [1, Reason.INVALID_OPERATION, Reason.SCHEMA_NOT_FOUND, Reason.SEQ_CONFLICT, 2]
    assert await place.decide(incremented(1), unfit, unknown, late, incremented(1)) == wanted
    assert place.access.proposed == 1


async def test_known_keys_are_not_checked(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    wanted = [1, 2, 1, Reason.KEY_REUSED]
    asked = incremented(6, "k"), incremented(4), incremented(6, "k"), incremented(7, "k")
    assert [*await place.decide(*asked[:2]), *await place.decide(*asked[2:])] == wanted
    assert place.state == b'{"n":10}'


async def test_logs_of_one_stream_stay_in_its_order(place: Place) -> None:
    """Runs of other logs are proposed one after the other, those that no schema governs together."""
    apply_each(place.database, place.register(Subject(SchemaOf.STATE, "a"), AT_MOST_10))
    free = [incremented(100, agent="b"), incremented(100, agent="c")]
    assert await place.decide(incremented(9), *free, incremented(1), incremented(1)) == [
        1,
        1,
        1,
        2,
        Reason.SCHEMA_VIOLATION,
    ]
    assert place.access.proposed == 3


async def test_a_transaction_is_checked_on_the_heads_of_all_its_parts(place: Place) -> None:
    apply_each(place.database, place.register(STATES, AT_MOST_10))
    asked = [incremented(5), incremented(6, agent="b")]
    parts = tuple(Part(each.command.target, each.command.mutations) for each in asked)
    messages = [each.messages for each in asked]
    others = [1]
    place.access.between = lambda: apply_each(place.database, place.other(others.pop())) if others else None
    assert isinstance(await place.checks.transact(Transact(START_MS, parts), messages, 5.0), Transacted)
    assert (place.state, place.access.proposed) == (b'{"n":6}', 2)
    with pytest.raises(Refused) as refused:
        await place.checks.transact(Transact(START_MS, parts), messages, 5.0)
    assert (refused.value.reason, refused.value.metadata["agent"]) == (Reason.SCHEMA_VIOLATION, "a")
    assert place.state == b'{"n":6}'
