"""`python -m tests.chaos --minutes 30`: runs, prints what was found, and exits 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos import report
from tests.chaos.run import Chaos
from tests.cluster.recorded_page import write_section

_SAY_EVERY_S: Final = 10.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Random faults under load, judged.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    parser.add_argument("--write", action="store_true", help="write them to docs/reference/reliability.md")
    parser.add_argument("--folder", type=Path, help="data, logs and histories go here and stay; else they are removed")
    return parser.parse_args()


def main() -> int:
    """See the module."""
    arguments = _arguments()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        return _run(arguments.folder, arguments)
    with tempfile.TemporaryDirectory(prefix="tallystick-chaos-") as folder:
        return _run(Path(folder), arguments)


def _run(folder: Path, arguments: argparse.Namespace) -> int:
    chaos = Chaos(
        folder, seed=arguments.seed, duration_s=arguments.minutes * 60, nodes=arguments.nodes, say=_now_and_then()
    )
    figures = asyncio.run(chaos.run())
    table = report.rows(figures)
    print(report.text(figures, table))
    if arguments.out is not None:
        arguments.out.write_text(report.document(figures))
    if arguments.write:
        write_section("chaos", table, folder)
    return 0 if figures.is_clean else 1


def _now_and_then() -> Callable[[str], None]:
    """Says on stderr how far it is, but not every time."""
    began_s = said_s = time.monotonic()

    def say(text: str) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= _SAY_EVERY_S:
            said_s = now_s
            print(f"{now_s - began_s:.0f} s: {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
