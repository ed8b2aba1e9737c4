"""No seed loses anything, and a seed replays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.broken import VARIANTS
from tests.sim.script import parse
from tests.sim.simulation import Simulation

ROOT = Path(__file__).parents[2]
CHUNK = 10

BROKEN = VARIANTS["callback"]
"""A broken cluster that shows it soon."""


@pytest.fixture(scope="module")
def failing_seed() -> int:
    return next(BROKEN.finding((*BROKEN.seeds, *range(200))))


def _run(*arguments: str, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "first",
    [*range(0, 40, CHUNK), *(pytest.param(first, marks=pytest.mark.long) for first in range(40, 180, CHUNK))],
)
def test_three_nodes_keep_their_promises(first: int) -> None:
    for seed in range(first, first + CHUNK):
        Simulation(seed).run()


@pytest.mark.parametrize(
    "first", [180, *(pytest.param(first, marks=pytest.mark.long) for first in range(185, 200, CHUNK // 2))]
)
def test_five_nodes_keep_their_promises(first: int) -> None:
    for seed in range(first, first + CHUNK // 2):
        Simulation(seed, nodes=5).run()


@pytest.mark.parametrize("seed", range(3))
def test_two_nodes_keep_their_promises(seed: int) -> None:
    Simulation(seed, nodes=2).run()


def test_a_seed_replays_exactly() -> None:
    """Also in another process whose sets of strings have another order."""
    traces = {_run("7", "--seconds", "4", hash_seed=hash_seed).stdout.strip() for hash_seed in ("1", "2")}
    assert traces == {Simulation(7).run(4.0)}
    assert Simulation(8).run(4.0) not in traces


def test_a_failing_seed_says_how_to_replay_it(failing_seed: int) -> None:
    command = f"python -m tests.sim {failing_seed} --nodes 3 --broken {BROKEN.name} --seconds {BROKEN.seconds:g}"
    with pytest.raises(BROKEN.symptom) as broken:
        BROKEN.broken(failing_seed).run(BROKEN.seconds)
    assert broken.value.__notes__ == [f"replay with: {command}"]
    replayed = _run(*command.split()[3:])
    assert replayed.returncode == 1
    assert str(broken.value) in replayed.stderr
    assert command in replayed.stderr


def test_a_failing_seed_is_shrunk_and_replayed(failing_seed: int, tmp_path: Path) -> None:
    script = tmp_path / "short.txt"
    asked = (str(failing_seed), "--broken", BROKEN.name, "--seconds", f"{BROKEN.seconds:g}")
    shrunk = _run(*asked, "--shrink", str(script))
    assert shrunk.returncode == 1
    short, drawn = parse(script.read_text()), BROKEN.broken(failing_seed).draw_script(BROKEN.seconds)
    assert f"PromiseBroken with {len(short)} of {len(drawn)} faults" in shrunk.stdout
    assert set(short) < set(drawn)
    assert [fault.kind for fault in short].count("caller_raises") == 1
    assert f"{BROKEN.broken(failing_seed).replay_command} --seconds 2 --script {script}" in shrunk.stdout
    replayed = _run(*asked, "--script", str(script))
    assert replayed.returncode == 1
    assert "PromiseBroken" in replayed.stderr


def test_a_range_of_seeds_is_summed_up(failing_seed: int) -> None:
    seeds = f"{failing_seed}..{failing_seed + 1}"
    summary = _run(seeds, "--broken", BROKEN.name, "--seconds", f"{BROKEN.seconds:g}")
    assert summary.returncode == 1
    assert "1 seeds, 1 failed {'PromiseBroken': 1}" in summary.stdout


def test_leaders_are_watched_and_disks_refuse() -> None:
    """What the seeds above assert is not empty."""
    simulations = [Simulation(seed) for seed in range(6)]
    for simulation in simulations:
        simulation.run()
    assert sum(simulation.leadership.established_count for simulation in simulations) > 0
    assert any(node.is_damaged for simulation in simulations for node in simulation.nodes.values())
