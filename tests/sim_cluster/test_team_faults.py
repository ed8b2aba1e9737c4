"""The simulation sees what goes wrong with transactions and cuts: each fault that is put in is found by its judge."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from tallystick.testing import SimCluster
from tallystick_node.core import teams as cuts
from tallystick_node.core import transactions
from tallystick_node.core.commands import Transact
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import Applied, TeamMember, Transacted
from tallystick_node.core.tables import LogRecord, Tables
from tallystick_node.sim.teams import Ledger, Payer, TeamRecords, broken

SECONDS = 12.0
NODES = ("a",)


def lived(seed: int = 1) -> tuple[TeamRecords, list[str]]:
    """What payers of one node were told, and what the judge finds."""
    records = TeamRecords()

    async def scenario(cluster: SimCluster) -> list[str]:
        async with cluster.connect() as client, cluster.connect() as other:
            ends_s = cluster.now_s + SECONDS
            payers = [Payer(records, each, f"payer-{at}", random.Random(at)) for at, each in enumerate((client, other))]
            await asyncio.gather(*(payer.run(cluster, ends_s) for payer in payers))
            return await broken(cluster, client, records, NODES)

    with SimCluster(nodes=1, seed=seed) as cluster:
        return records, cluster.run(scenario)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    records, complaints = lived()
    assert complaints == []
    assert len(records.paid) > 5
    assert records.not_paid
    assert records.cuts


def test_a_part_of_a_transaction_that_was_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was folded before the refusal stays in the states."""

    def keeps(document: Document) -> None:
        document.commit()

    monkeypatch.setattr(Document, "rollback", keeps)
    _, complaints = lived()
    assert any("the one that the cut binds" in complaint for complaint in complaints)


def test_a_transaction_that_is_half_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = transactions.decide

    def without_the_last(tables: Tables, command: Transact) -> Applied:
        if command.idempotency is None or command.idempotency.key == "begin":
            return decide(tables, command)
        applied = decide(tables, replace(command, parts=command.parts[:-1]))
        done = applied.outcome
        if not isinstance(done, Transacted):
            return applied
        return applied._replace(outcome=replace(done, parts=(*done.parts, done.parts[-1])))

    monkeypatch.setattr(transactions, "decide", without_the_last)
    _, complaints = lived()
    assert any("parts" in complaint for complaint in complaints)


def test_a_retry_that_counts_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both payers ask for the beginning with one key."""
    decide = transactions.decide
    monkeypatch.setattr(
        transactions, "decide", lambda tables, command: decide(tables, replace(command, idempotency=None))
    )
    _, complaints = lived()
    assert any("2 times" in complaint for complaint in complaints)


def test_a_cut_that_is_not_of_one_moment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    member = cuts._member

    def late(log: LogRecord, state: Document) -> TeamMember:
        bound = member(log, state)
        return bound._replace(seq=max(1, bound.seq - 1)) if log.target.agent.endswith("0") else bound

    monkeypatch.setattr(cuts, "_member", late)
    _, complaints = lived()
    assert any("cut" in complaint for complaint in complaints)


def test_what_was_acknowledged_and_is_not_there_is_found() -> None:
    records = TeamRecords(paid={"p.1"}, not_paid={"p.2"})
    assert list(Ledger().compare(records)) == ["p.1 was acknowledged and is not there"]
