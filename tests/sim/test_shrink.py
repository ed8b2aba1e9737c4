"""Scripts: drawn, printed, read again; and made shorter while they still fail."""

from __future__ import annotations

import random

import pytest

from tests.sim.faults import KINDS
from tests.sim.script import Fault, Script, draw, parse, show
from tests.sim.shrink import shrink

SCRIPT = draw(random.Random(1), "abcde", KINDS, 60.0)


def test_what_is_printed_can_be_read_again() -> None:
    assert len({fault.kind for fault in SCRIPT}) > 15
    assert parse(f"# a comment\n\n{show(SCRIPT)}") == SCRIPT


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        parse("soon heal\n")


@pytest.mark.parametrize("places", [(), (3,), (0, 40), (7, 8, 90), tuple(range(0, 60, 6))])
def test_what_is_needed_is_left_and_nothing_else(places: tuple[int, ...]) -> None:
    needed = {SCRIPT[place] for place in places}
    runs: list[Script] = []

    def fails(tried: Script) -> bool:
        runs.append(tried)
        return needed <= set(tried)

    assert set(shrink(SCRIPT, fails)) == needed
    assert len(runs) <= 300


def test_shrinking_is_bounded() -> None:
    script = tuple(Fault(float(at_s), "heal") for at_s in range(1000))
    runs: list[Script] = []

    def fails(tried: Script) -> bool:
        runs.append(tried)
        return len(tried) > 900

    assert len(shrink(script, fails, max_runs=20)) < 1000
    assert len(runs) == 20
