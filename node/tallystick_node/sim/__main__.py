"""Runs seeds: `python -m tallystick_node.sim 0..200 --nodes 3 --seconds 20`, or one, or one with a script."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from tallystick_node.sim.nemesis import CONTEXT_KINDS, KINDS, load_script
from tallystick_node.sim.runs import MAX_SHOWN, run_all, show
from tallystick_node.sim.seed import SECONDS, Plan


@click.command()
@click.argument("seeds", metavar="SEED|FROM..TO")
@click.option("--nodes", default="3", show_default=True, help="How many; several counts with commas.")
@click.option("--seconds", default=SECONDS, show_default=True, help="Virtual time under load and faults.")
@click.option(
    "--kinds",
    default="",
    help=f"Kinds of faults, with commas; all: {','.join(dict.fromkeys((*KINDS, *CONTEXT_KINDS)))}.",
)
@click.option("--script", type=click.Path(exists=True, path_type=Path), help="Faults from a file, not from the seed.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--contexts", is_flag=True, help="The nodes of each seed hold contexts, not those of each fifth alone.")
@click.option("--no-shrink", is_flag=True, help="Show failures as they are.")
def main(
    seeds: str,
    nodes: str,
    seconds: float,
    kinds: str,
    script: Path | None,
    jobs: int,
    *,
    contexts: bool,
    no_shrink: bool,
) -> None:
    """Runs seeds of the simulation and checks every promise; exits with 1 if one is broken."""
    counts = [int(count) for count in nodes.split(",")]
    chosen = tuple(kinds.split(",")) if kinds else None
    plans = [Plan(seed, count, seconds, chosen, contexts) for seed in parse_seeds(seeds) for count in counts]
    steps = load_script(script) if script is not None else None
    failures = run_all(plans, steps, jobs)
    for plan, failure in failures[:MAX_SHOWN]:
        show(plan, failure, steps, shrinks=not no_shrink)
    if failures:
        sys.exit(1)


def parse_seeds(text: str) -> range:
    """The seeds of `7` or `0..200`; the last one does not count.

    Raises:
        click.BadParameter: it is neither.
    """
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last) if dots else int(first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise click.BadParameter(f"write a seed, or FROM..TO with TO above FROM, not {text!r}")
    return seeds


if __name__ == "__main__":
    main()
