"""The simulation sees what goes wrong with leases: each fault that is put in is found by its judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tallystick_node.core import leases as core
from tallystick_node.core.commands import AcquireLease, ExpireLease
from tallystick_node.core.outcomes import Applied, LeaseChange, LeaseRecord
from tallystick_node.core.tables import Tables
from tallystick_node.leases.keeper import LeaseKeeper
from tallystick_node.sim.seed import Failed, Passed, Plan, run_seed

SEEDS = range(1, 13)
SECONDS = 8.0


def first_failure(kinds: tuple[str, ...] = ("pause",)) -> Failed:
    for seed in SEEDS:
        outcome = run_seed(Plan(seed, seconds=SECONDS, kinds=kinds))
        if isinstance(outcome, Failed):
            return outcome
    raise AssertionError(f"not found within {len(SEEDS)} seeds")


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert isinstance(run_seed(Plan(SEEDS[0], seconds=SECONDS, kinds=("pause",))), Passed)


def test_a_write_of_an_older_epoch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "check_epoch", lambda _tables, _target, _epoch: None)
    failure = first_failure()
    assert (failure.kind, "stands in" in failure.text) == ("leases", True)


def _whatever_the_mark(decide: Callable[[Tables, ExpireLease], Applied]) -> Callable[[Tables, ExpireLease], Applied]:
    def hasty(tables: Tables, command: ExpireLease) -> Applied:
        lease = tables.leases.lease(command.target)
        return decide(tables, replace(command, mark=lease.mark if lease is not None else 0))

    return hasty


def test_a_holder_given_up_before_its_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals that came in between do not count, and the keeper does not hear of them."""
    monkeypatch.setattr(core, "_expire", _whatever_the_mark(core._expire))
    heard = LeaseKeeper.heard

    def hears_no_renewal(keeper: LeaseKeeper, records: Sequence[LeaseRecord]) -> None:
        heard(keeper, [record for record in records if not record.is_held or not record.mark])

    monkeypatch.setattr(LeaseKeeper, "heard", hears_no_renewal)
    failure = first_failure()
    assert (failure.kind, "before its time" in failure.text) == ("leases", True)


def test_two_holders_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    acquire = core._acquire

    def generous(tables: Tables, command: AcquireLease) -> Applied:
        lease = tables.leases.lease(command.target)
        if lease is not None and lease.is_held and lease.holder != command.holder:
            tables.leases.save(replace(lease, change=LeaseChange.RELEASED))
        return acquire(tables, command)

    monkeypatch.setattr(core, "_acquire", generous)
    failure = first_failure()
    assert failure.kind == "leases"


def test_a_lease_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def looks_away(_keeper: LeaseKeeper) -> None:
        return

    monkeypatch.setattr(LeaseKeeper, "look", looks_away)
    failure = first_failure()
    assert (failure.kind, "does not end" in failure.text) == ("leases", True)
