"""A search that goes on while logs are deleted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core.commands import Append
from tallystick_node.storage import causality_reads
from tallystick_node.storage.database import Database
from tallystick_node.wire.mutations import admit_mutations
from tests.unit.database_support import START_MS, apply_each, delete_agent, target


def reading(agent: str, *read: str) -> Append:
    """A mutation of an agent that read the first one of others."""
    observed = common_pb2.Observed(logs=[common_pb2.ObservedLog(agent=each, seq=1) for each in read])
    return Append(START_MS, target(agent), admit_mutations([state_pb2.Mutation(kind="note", observed=observed)]))


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_a_log_that_goes_between_two_looks_is_still_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(causality_reads, "LOOK_OBSERVATIONS", 1)
    with closing(Database.open(tmp_path / "state.db")) as database:
        apply_each(database, reading("a"), reading("x"), reading("b", "x", "a"), reading("c", "b"))
        reads = database.reads.causality
        search = reads.search(reads.point(target("a"), 1).place, reads.point(target("c"), 1).place, 100)
        next(search)  # c read b
        next(search)  # b read something
        apply_each(database, delete_agent(gone))
        while True:
            try:
                next(search)
            except StopIteration as ended:
                found = ended.value
                break
        assert found.is_before or (gone == "b" and found.has_gaps)
        assert found.is_before is False or [each.other.agent for each in found.path] == ["b", "a"]
