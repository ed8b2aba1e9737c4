"""What the logs say of undecided writes leaves the judge of a simulation little to guess."""

from __future__ import annotations

import pytest

from tallystick.testing.history import JSON, History
from tallystick.testing.models import append_only_list
from tallystick.testing.verdict import Verdict, steps
from tallystick.testing.witness import check_witness
from tallystick_node.sim.settled import settled

UNDECIDED = 12


def asked(last_read: JSON) -> History:
    """Many appends that nobody answered, some of which are in what is read at the end."""
    history = History()
    for number in range(UNDECIDED):
        history.begin(f"p{number}", "list-0", "append", f"e{number}", at_s=1.0)
    history.begin("reader", "list-0", "read", at_s=5.0).ok(at_s=6.0, result=last_read, revision=30)
    history.begin("counter", "count-0", "increment", 1, at_s=1.0)
    return history


@pytest.mark.parametrize(
    ("last_read", "verdict"),
    [
        (["e7", "e3", "e5"], Verdict.VALID),
        (["e7", "e3"], Verdict.INVALID),  # one is lost that the log has
        (["e7", "e3", "e5", "e1"], Verdict.INVALID),  # one is there that the log has not
        (["e3", "e7", "e5"], Verdict.INVALID),  # in another order
    ],
)
def test_what_was_undecided_is_looked_up(last_read: JSON, verdict: Verdict) -> None:
    places = {("list-0", "e7"): 3, ("list-0", "e3"): 4, ("list-0", "e5"): 9, ("other", "e1"): 8}
    history = settled(asked(last_read), places, at_s=7.0)
    lists = history.select(lambda operation: operation.key == "list-0")
    report = check_witness(lists, append_only_list(), budget=steps(100))
    assert report.verdict is verdict, str(report)


def test_what_counts_up_stays_undecided() -> None:
    (left,) = (operation for operation in settled(asked([]), {}, at_s=7.0) if operation.outcome == "undecided")
    assert left.kind == "increment"
