"""`python -m tests.power`: cuts the power, again and again, and says what was lost. `--help` names the flags.

It runs in a mount namespace of its own (`unshare`), so that no mount outlives it, however it ends.

Exit codes: 0: nothing was lost; 1: something was, or the nodes did not come back; 77: it cannot be tried here.
With `--without-sync` 0 says that something was lost: that the test can see.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.cluster.recorded_page import write_section
from tests.power.disk import Disk, DiskError, missing
from tests.power.rounds import NODES, Result, Rounds

CANNOT: Final = 77
"""The exit code for: not on this machine."""

_INSIDE: Final = "--inside"
_SHIM: Final = Path(__file__).with_name("no_sync.c")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.power", description="Power loss of all nodes at once.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the disks' images go")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    parser.add_argument("--write", action="store_true", help="write them to docs/reference/reliability.md")
    parser.add_argument("--without-sync", action="store_true", help="nodes whose syncs do nothing: what is lost?")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """See the module."""
    arguments = _arguments()
    lacking = missing() or ("a compiler (cc) is missing" if arguments.without_sync and not shutil.which("cc") else None)
    if lacking is not None:
        _say(lacking)
        return CANNOT
    if not arguments.inside:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.power"]
        os.execvp(command[0], [*command, *sys.argv[1:], _INSIDE])  # noqa: S606 - ourselves
    with tempfile.TemporaryDirectory(prefix="tallystick-power-", dir=arguments.folder) as folder:
        try:
            with _disks(Path(folder)) as disks:
                return _run(Path(folder), disks, arguments)
        except DiskError as error:
            _say(f"disks to be cut off cannot be had: {error}")
            return CANNOT


@contextlib.contextmanager
def _disks(folder: Path) -> Iterator[Mapping[str, Disk]]:
    with contextlib.ExitStack() as stack:
        disks: dict[str, Disk] = {}
        for node_id in NODES:
            disks[node_id] = Disk(folder / f"{node_id}.ext4", folder / f"disk-{node_id}")
            stack.callback(disks[node_id].discard)
        yield disks


def _run(folder: Path, disks: Mapping[str, Disk], arguments: argparse.Namespace) -> int:
    if arguments.without_sync:
        rounds = Rounds(folder, disks, arguments.seed, environment={"LD_PRELOAD": str(_no_sync(folder))})
        found = asyncio.run(rounds.lose())
        print(json.dumps(asdict(found)))
        return 0 if found.lost else 1
    result = asyncio.run(Rounds(folder, disks, arguments.seed).run(arguments.rounds, _say))
    print(json.dumps(asdict(result)))
    _keep(result, arguments)
    return 0 if result.findings.is_clean else 1


def _keep(result: Result, arguments: argparse.Namespace) -> None:
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    if arguments.write:
        write_section("power", _figures(result), arguments.folder)


def _figures(result: Result) -> dict[str, str]:
    """What the page says."""
    found = result.findings
    return {
        "cuts of the power of all three nodes at once": f"{result.rounds:,}",
        "seed": str(result.seed),
        "duration": f"{result.seconds:,.0f} s",
        "writes acknowledged before the last cut": f"{result.at_cut:,}",
        "writes acknowledged in all": f"{result.acknowledged:,}",
        "writes whose outcome was never told": f"{result.undecided:,}",
        "**acknowledged writes lost**": f"**{found.lost:,}**",
        "writes found twice": f"{found.twice:,}",
        "writes elsewhere than their answer said": f"{found.misplaced:,}",
        "writes found that were told to have done nothing": f"{found.strangers:,}",
        "agents whose logs differ between nodes": f"{found.differing:,}",
    }


def _no_sync(folder: Path) -> Path:
    """The library that makes syncing do nothing."""
    library = folder / "no_sync.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SHIM)], check=True)
    return library


if __name__ == "__main__":
    sys.exit(main())
