"""The command line of the simulation: which seeds are meant."""

from __future__ import annotations

import click
import pytest

from tallystick_node.sim.__main__ import parse_seeds


@pytest.mark.parametrize(("text", "seeds"), [("7", range(7, 8)), ("0..3", range(3)), ("5..6", range(5, 6))])
def test_a_seed_or_a_range_of_them(text: str, seeds: range) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "1..", "5..5", "5..4", "1...3"])
def test_what_is_no_seed_is_said(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write a seed"):
        parse_seeds(text)
