"""Runs seeds: one, to see what goes wrong in it, or a range, over the cores.

python -m tests.sim 17
python -m tests.sim 0..1000 --nodes 5
python -m tests.sim 0..1000 --members            # members change, leaders hand over, clients read
python -m tests.sim 0..100 --broken hasty       # which seeds find the loss when a fix is taken out
python -m tests.sim 17 --shrink short.txt       # if it fails: the fewest faults with which it still does
python -m tests.sim 17 --script short.txt       # with these faults instead of its own
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tallystick_node.sim.shrink import shrink
from tests.sim.broken import VARIANTS
from tests.sim.members.simulation import MembersSimulation
from tests.sim.script import Script, parse, show
from tests.sim.simulation import Simulation


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    kind: type[Simulation]
    nodes: int
    seconds: float

    def run(self, seed: int, script: Script | None = None) -> str:
        """Runs one seed; returns the hash of its trace."""
        return self.kind(seed, self.nodes, script).run(self.seconds)

    def failure(self, seed: int, script: Script) -> str:
        """What kind of error a seed ends with; empty if it does not."""
        try:
            self.run(seed, script)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            return type(error).__name__
        return ""


def run_range(first: int, end: int, options: Options) -> int:
    """Runs `first` to `end` - 1 over the cores, prints each failure and a summary; returns how many failed."""
    kinds: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(options.run, seed): seed for seed in range(first, end)}
        for future in as_completed(running):
            error = future.exception()
            if error is not None:
                kinds[type(error).__name__] += 1
                replay = "; ".join(getattr(error, "__notes__", ()))
                print(f"seed {running[future]}: {type(error).__name__}: {str(error)[:200]} ({replay})", flush=True)
    print(f"{end - first} seeds, {kinds.total()} failed", dict(kinds) if kinds else "")
    return kinds.total()


def run_shrinking(seed: int, options: Options, target: Path) -> int:
    """Runs a seed, and if it fails writes the shortest script with which it does; returns the exit code."""
    simulation = options.kind(seed, options.nodes)
    script = simulation.draw_script(options.seconds)
    failure = options.failure(seed, script)
    if not failure:
        print(f"seed {seed} is fine")
        return 0
    short = tuple(shrink(script, lambda tried: options.failure(seed, tuple(tried)) == failure))
    target.write_text(show(short))
    print(f"{failure} with {len(short)} of {len(script)} faults:\n{show(short)}", end="")
    print(f"replay with: {simulation.replay_command} --seconds {options.seconds:g} --script {target}")
    return 1


def _kind(broken: str | None, fixed: str | None, *, members: bool) -> type[Simulation]:
    if members:
        return MembersSimulation
    if broken is not None:
        return VARIANTS[broken].broken
    return Simulation if fixed is None else VARIANTS[fixed].fixed


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulated clusters under faults.")
    parser.add_argument("seeds", help="a seed, or a range first..end (end is not run)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="simulated seconds of faults")
    parser.add_argument("--script", type=Path, help="the faults, instead of the seed's own")
    parser.add_argument("--shrink", type=Path, metavar="FILE", help="writes the fewest faults with which it fails")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--broken", choices=sorted(VARIANTS), help="a cluster with a fix taken out")
    kind.add_argument("--fixed", choices=sorted(VARIANTS), help="the same faults with the fix in place")
    kind.add_argument("--members", action="store_true", help="members change, leaders hand over, clients read")
    asked = parser.parse_args(arguments)
    options = Options(_kind(asked.broken, asked.fixed, members=asked.members), asked.nodes, asked.seconds)
    first, is_range, end = asked.seeds.partition("..")
    if is_range:
        return 1 if run_range(int(first), int(end), options) else 0
    if asked.shrink is not None:
        return run_shrinking(int(first), options, asked.shrink)
    print(options.run(int(first), None if asked.script is None else parse(asked.script.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
