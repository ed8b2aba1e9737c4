"""Was each invoice paid once, did everything come home? Each check is a function of what was read: tests lie to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from examples.owners.payer import INVOICES, STALE
from tallystick import JSON


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it holds, and a figure or a problem."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at.

    Attributes:
        ledger: what the bank paid: invoice, key and payer of each payment, in its order.
        frozen_exit: the exit code of the payer that was frozen and thawed.
        actors: who wrote each mutation of the payer's log, in its order.
        paid: the payer's state: who paid which invoice.
        queued: what the scout did while it was cut off.
        found: what the scout's log and the branch that was merged have of it.
        fates: what the report says of each.
        conflicts: what the merge could not settle by itself.
    """

    ledger: Sequence[dict[str, JSON]]
    frozen_exit: int
    actors: Sequence[str]
    paid: JSON
    queued: Sequence[str]
    found: Sequence[str]
    fates: Sequence[str]
    conflicts: Sequence[str]


def verify(evidence: Evidence) -> list[Check]:
    """All checks."""
    return [
        check_paid_once(evidence),
        check_stale(evidence),
        check_one_writer(evidence),
        check_state(evidence),
        check_fates(evidence),
        check_home(evidence),
        check_conflicts(evidence),
    ]


def check_paid_once(evidence: Evidence) -> Check:
    """The bank paid each invoice once."""
    paid = Counter(str(entry["invoice"]) for entry in evidence.ledger)
    wrong = [f"{number}: {paid[str(number)]} times" for number in range(INVOICES) if paid[str(number)] != 1]
    return Check("each invoice is paid once", not wrong, ", ".join(wrong) or f"{INVOICES} invoices")


def check_stale(evidence: Evidence) -> Check:
    """The payer that thawed was told that it is stale."""
    return Check("the frozen payer was refused", evidence.frozen_exit == STALE, f"it ended with {evidence.frozen_exit}")


def check_one_writer(evidence: Evidence) -> Check:
    """Once the second payer wrote, the first never did again."""
    changes = sum(before != after for before, after in zip(evidence.actors, evidence.actors[1:], strict=False))
    return Check("the log changed hands once", changes == 1, f"hands changed: {changes}")


def check_state(evidence: Evidence) -> Check:
    """The state names a payer for each invoice."""
    paid = evidence.paid
    ok = isinstance(paid, dict) and paid.keys() == {str(number) for number in range(INVOICES)}
    return Check("the payer's state names all of them", ok, f"{len(paid) if isinstance(paid, dict) else 0} invoices")


def check_fates(evidence: Evidence) -> Check:
    """The report tells the fate of each thing that was done offline."""
    ok = len(evidence.fates) == len(evidence.queued) and set(evidence.fates) == {"branched"}
    return Check("the report tells the fate of each", ok, ", ".join(evidence.fates) or "none")


def check_home(evidence: Evidence) -> Check:
    """All that was done offline is there, once."""
    ok = bool(evidence.queued) and Counter(evidence.found) == Counter(evidence.queued)
    return Check("what was done offline is there, once", ok, f"{len(evidence.found)} of {len(evidence.queued)}")


def check_conflicts(evidence: Evidence) -> Check:
    """What both sides had changed was told, and nothing else."""
    ok = list(evidence.conflicts) == ["/mood"]
    return Check("the merge told what both had changed", ok, ", ".join(evidence.conflicts) or "nothing")
