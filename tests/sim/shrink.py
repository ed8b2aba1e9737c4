"""Makes a failing script shorter: delta debugging (Zeller's ddmin) over its lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.sim.script import Script

MAX_RUNS: Final = 300
"""Runs of the simulation that shrinking may take; then the shortest found so far will do."""


def shrink(script: Script, fails: Callable[[Script], bool], max_runs: int = MAX_RUNS) -> Script:
    """The shortest script found that still fails, given one that does: no line can go, unless the runs ran out."""
    parts = 2
    runs = 0
    while len(script) > 0 and runs < max_runs:
        size = -(-len(script) // parts)
        for start in range(0, len(script), size):
            shorter = script[:start] + script[start + size :]
            runs += 1
            if fails(shorter):
                script, parts = shorter, max(parts - 1, 2)
                break
            if runs >= max_runs:
                break
        else:
            if size <= 1:
                break
            parts = min(2 * parts, len(script))
    return script
