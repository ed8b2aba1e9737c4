"""A script is drawn, printed and read again."""

from __future__ import annotations

import random

import pytest

from tests.sim.faults import KINDS
from tests.sim.script import draw, parse, show

SCRIPT = draw(random.Random(1), "abcde", KINDS, 60.0)


def test_what_is_printed_can_be_read_again() -> None:
    assert len({fault.kind for fault in SCRIPT}) > 20
    assert parse(f"# a comment\n\n{show(SCRIPT)}") == SCRIPT


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        parse("soon heal\n")


def test_a_drawing_strikes_its_victims_only() -> None:
    script = draw(random.Random(1), "abcde", ("crash", "pause", "isolate", "rot"), 60.0, victims="b")
    assert {fault.arguments[0] for fault in script} == {"b"}
