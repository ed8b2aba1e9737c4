"""`python -m tests.bench`: measures, prints, and exits 0 whatever it finds. `--help` names the flags."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench import bench, report, run
from tests.bench.contexts import figures as context_figures
from tests.bench.contexts import plan as context_plan
from tests.bench.contexts import run as context_run
from tests.bench.figures import Result, gather
from tests.bench.machine import describe

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "benchmarks.md"
_DATA_FOLDER: Final = "/var/tmp"  # noqa: S108 - a disk, where /tmp may be memory


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What Tallystick costs on this machine.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, fewer agents: under 45 s")
    parser.add_argument("--contexts", action="store_true", help="shared contexts, in place of agents and their logs")
    names = f"{', '.join(run.NAMES)}; with --contexts: {', '.join(context_run.NAMES)}"
    parser.add_argument(
        "--only",
        choices=(*run.NAMES, *context_run.NAMES),
        metavar="NAME",
        help=f"this one beside the raw ones: {names}",
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"also write {PAGE.name}")
    parser.add_argument("--folder", type=Path, default=Path(_DATA_FOLDER), help="where data goes meanwhile")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(arguments: argparse.Namespace, folder: Path) -> list[Result]:
    if arguments.contexts:
        plan = context_plan.QUICK if arguments.quick else context_plan.FULL
        readings = asyncio.run(context_run.run(folder, plan, arguments.only, _say))
        return gather(readings, context_figures.FIGURES)
    log_plan = bench.QUICK if arguments.quick else bench.FULL
    return gather(asyncio.run(run.run(folder, log_plan, arguments.only, _say)))


def main() -> None:
    """See the module."""
    arguments = _arguments()
    machine = describe(arguments.folder)
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-", dir=arguments.folder) as folder:
        results = _measure(arguments, Path(folder))
    if arguments.json:
        print(report.document(results, machine))
    else:
        report.print_table(results, machine)
    if arguments.write:
        old = PAGE.read_text()
        if arguments.contexts:
            PAGE.write_text(report.page_of_contexts(old, results, machine))
        else:
            PAGE.write_text(report.page(old, results, machine, bench.MUTATION_BYTES))


if __name__ == "__main__":
    main()
