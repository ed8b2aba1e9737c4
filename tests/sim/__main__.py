"""Runs seeds: one, to see what goes wrong in it, or a range, over the cores.

python -m tests.sim 17
python -m tests.sim 0..1000 --nodes 5
python -m tests.sim 0..100 --broken hasty       # which seeds find the loss when a fix is taken out
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from tests.sim.broken import BROKEN
from tests.sim.simulation import Simulation


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    nodes: int
    seconds: float
    broken: str | None

    def run(self, seed: int) -> str:
        """Runs one seed; returns the hash of its trace."""
        kind = Simulation if self.broken is None else BROKEN[self.broken]
        return kind(seed, self.nodes).run(self.seconds)


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


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulated clusters under faults.")
    parser.add_argument("seeds", help="a seed, or a range first..end (end is not run)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="simulated seconds of faults")
    parser.add_argument("--broken", choices=sorted(BROKEN), help="a cluster with a fix taken out")
    asked = parser.parse_args(arguments)
    options = Options(asked.nodes, asked.seconds, asked.broken)
    first, is_range, end = asked.seeds.partition("..")
    if is_range:
        return 1 if run_range(int(first), int(end), options) else 0
    print(options.run(int(first)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
