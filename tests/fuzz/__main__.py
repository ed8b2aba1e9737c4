"""`python -m tests.fuzz --seconds 60`, or `--inputs 1000000`: prints the counts, and exits 1 if there is a finding."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.run import Report, run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hostile updates.")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="write the counts and findings here as JSON")
    return parser.parse_args()


def main() -> int:
    """See the module."""
    arguments = _arguments()
    seconds, inputs = arguments.seconds, arguments.inputs
    if seconds is None and inputs is None:
        seconds = 60.0
    processes: int = arguments.processes
    share = None if inputs is None else -(-inputs // processes)
    total = Report()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(run, arguments.seed * 1000 + at, inputs=share, seconds=seconds) for at in range(processes)]
        for one in runs:
            total.add(one.result())
    print(f"{total.inputs} inputs, {total.admitted} admitted, {total.lacking} lacking, {total.applied} applied")
    print(", ".join(f"{name} {count}" for name, count in sorted(total.outcomes.items())))
    for finding in total.findings[:20]:
        print(f"FINDING {finding.what}\n  {' '.join(finding.updates)}", file=sys.stderr)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(asdict(total), indent=1) + "\n")
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
