"""`python -m tests.bench`: measures, prints, and exits 0 whatever it finds. `--help` names the flags."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench import report
from tests.bench.bench import FULL, MUTATION_BYTES, QUICK
from tests.bench.figures import gather
from tests.bench.machine import describe
from tests.bench.run import NAMES, run

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "benchmarks.md"
_DATA_FOLDER: Final = "/var/tmp"  # noqa: S108 - a disk, where /tmp may be memory


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What Tallystick costs on this machine.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, fewer agents: under 45 s")
    parser.add_argument(
        "--only", choices=NAMES, metavar="NAME", help=f"this one beside the raw ones: {', '.join(NAMES)}"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"also write {PAGE.name}")
    parser.add_argument("--folder", type=Path, default=Path(_DATA_FOLDER), help="where data goes meanwhile")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """See the module."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    machine = describe(arguments.folder)
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-", dir=arguments.folder) as folder:
        results = gather(asyncio.run(run(Path(folder), plan, arguments.only, _say)))
    if arguments.json:
        print(report.document(results, machine))
    else:
        report.print_table(results, machine)
    if arguments.write:
        PAGE.write_text(report.page(results, machine, MUTATION_BYTES))


if __name__ == "__main__":
    main()
