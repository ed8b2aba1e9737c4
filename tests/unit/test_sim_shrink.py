"""Shrinking, and the scripts that are shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tallystick_node.sim.nemesis import KINDS, Nemesis, Step, load_script
from tallystick_node.sim.shrink import shrink


def test_it_finds_the_few_that_matter() -> None:
    runs = 0

    def fails(items: Sequence[int]) -> bool:
        nonlocal runs
        runs += 1
        return {3, 57, 58} <= set(items)

    assert shrink(range(100), fails) == [3, 57, 58]
    assert runs <= 100


def test_what_fails_without_any_item_is_left_with_none() -> None:
    assert shrink([1, 2, 3], lambda _: True) == []


def test_the_bound_holds_and_what_is_left_still_fails() -> None:
    runs = 0

    def fails(items: Sequence[int]) -> bool:
        nonlocal runs
        runs += 1
        return sum(items) >= 2000

    left = shrink(range(100), fails, max_runs=7)
    assert runs <= 7
    assert sum(left) >= 2000


@pytest.mark.parametrize("nodes", [["a"], ["a", "b", "c"], list("abcde")])
def test_a_script_is_the_seeds_alone_and_survives_being_written_down(nodes: list[str], tmp_path: Path) -> None:
    kinds: set[str] = set()
    for seed in range(30):
        script = Nemesis.script(seed, nodes, 20.0)
        assert script == Nemesis.script(seed, nodes, 20.0)
        assert script == sorted(script)
        assert all(0.0 <= step.at_s <= 20.0 for step in script)
        path = tmp_path / "script"
        path.write_text("# a comment\n\n" + "".join(f"{step}\n" for step in script))
        assert load_script(path) == script
        kinds |= {step.kind for step in script}
    assert {"kill", "power_cut", "start", "pause", "cut", "heal", "jump"} <= kinds


def test_a_script_has_only_the_kinds_asked_for() -> None:
    script = Nemesis.script(1, ["a", "b", "c"], 20.0, ["pause"])
    assert {step.kind for step in script} == {"pause", "resume"}
    with pytest.raises(ValueError, match="'earthquake' is none of"):
        Nemesis.script(1, ["a"], 20.0, ["earthquake"])
    assert "pause" in KINDS


def test_a_line_that_is_no_step_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("1.0 heal\n2.0 explode a\n")
    with pytest.raises(ValueError, match="line 2: not a step"):
        load_script(path)
    assert Step.parse("1.5 cut a b") == Step(1.5, "cut", ("a", "b"))
