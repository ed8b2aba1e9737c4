"""A small state with something in every table of retention, and all that can be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tallystick_node.core.commands import BeginStep, Command, EndStep, Fork, TakeTeamCheckpoint
from tallystick_node.core.machine import apply
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint, RetentionPolicy, SetRetention
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import At, AtCheckpoint, AtSeq, Head
from tallystick_node.wire.step_mutations import begun_mutation, completed_mutation
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, checkpoint, set_op, target

Read: TypeAlias = Callable[[Database], object]

BEGUN = begun_mutation("s", 0, b"", "")
DONE = completed_mutation("s", 1, b'"done"', "")


def history() -> list[Command]:
    """A log whose past went, but for a pinned checkpoint, a cut, a key and what a step came to; and a branch."""
    before: list[Command] = [
        SetRetention(START_MS, "demo", RetentionPolicy(1, 2, 3, "cold"), "me"),
        append([set_op("/n", "1")], key="k"),
        checkpoint("first", metadata=b'{"a":1}'),
        checkpoint("pinned"),
        PinCheckpoint(START_MS, target(), "pinned", is_pinned=True, actor="me"),
        BeginStep(START_MS, target(), "s", 0, BEGUN),
        EndStep(START_MS, target(), "s", 1, has_failed=False, mutation=DONE),
        TakeTeamCheckpoint(START_MS, "demo", "cut", b"f"),
        append([set_op("/n", "2")], [set_op("/n", "3")]),
        Fork(START_MS, target(), "b", 4),
        append([set_op("/n", "4")], [set_op("/n", "5")]),
    ]
    return [*before, CompactLog(START_MS, target(), 5, _hash_at(before, 4), "keeper")]


def _hash_at(commands: list[Command], seq: int) -> bytes:
    tables = MemoryTables()
    for command in commands:
        apply(tables, command)
    log = tables.log(target())
    return tables.branches.hash_at(log, seq) if log is not None else b""


def reads() -> list[Read]:
    """All that can be asked of retention, and what `apply` looks up."""
    ats: list[tuple[str, At]] = [
        (branch, at)
        for branch in ("main", "b")
        for at in (Head(), AtSeq(1), AtSeq(3), AtSeq(4), AtCheckpoint("pinned"))
    ]

    def state(branch: str, at: At) -> Read:
        return lambda database: database.reads.read_state(target(branch=branch), at)

    def gone(agent: str | None) -> Read:
        return lambda database: [each for each in [database.reads.newest_gone("demo", agent, None)] if each]

    return [
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.retention.policy("demo"),
        lambda database: database.reads.retention.anchor(database.reads.log(target())),
        lambda database: database.reads.mutations(target(), 4, 1000),
        lambda database: database.reads.checkpoints(target(), 0, 1000),
        lambda database: database.reads.steps.results(target(), "", 100),
        lambda database: database._tables.remembered(1, "k"),
        lambda database: database._tables.event(2),
        gone(None),
        gone("a"),
        *(state(branch, at) for branch, at in ats),
    ]
