"""Two agents, staged: the third act of `make demo`, or `python examples/owners/demo.py`.

Three real nodes. A payer pays invoices under a lease and is frozen (SIGSTOP) in the middle of it; another takes over;
the first thaws. A scout is cut off with its node and goes on; somebody else writes to its log meanwhile; it comes home.
At the end everything is checked. Exit code 0: all of it holds.

Rules of this file: it acts on what the agents say, never on time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a file, too

import tallystick
from examples.owners.payer import AGENT, INVOICES, NAMESPACE
from examples.owners.verify import Check, Evidence, verify
from tallystick import JSON, Client, ops
from tallystick.history import MergeConflict
from tallystick.outbox import ReconcileReport
from tallystick.testing import LocalCluster

PAYER: Final = Path(__file__).with_name("payer.py")
FROZEN_AT: Final = 3
PLACES: Final = ("harbour", "mill", "bridge")
DEADLINE_S: Final = 120.0
PATIENCE_S: Final = 0.5
BROKEN, INTERRUPTED = 1, 130


class Story:
    """What happened, as it is told."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._began_s = time.monotonic()
        self._is_quiet = is_quiet
        self.moments: list[str] = []

    def say(self, what: str) -> None:
        """Tells it."""
        self.moments.append(what)
        if not self._is_quiet:
            print(f"{time.monotonic() - self._began_s:7.2f} s  {what}", flush=True)


class Payer:
    """A payer's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, word: str) -> str:
        """Waits until it says a line that begins so; the rest of it."""
        stdout = self._process.stdout
        while stdout is not None and (line := (await stdout.readline()).decode()):
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise tallystick.TallystickError(f"the payer ended and never said {word!r}")

    def freeze(self) -> None:
        """It does nothing more, and knows nothing of it."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if no time had passed."""
        self._process.send_signal(signal.SIGCONT)

    async def ended(self) -> int:
        """Its exit code."""
        return await self._process.wait()


@asynccontextmanager
async def payer(cluster: LocalCluster, name: str, ledger: Path) -> AsyncIterator[Payer]:
    """A payer, gone when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PAYER), ",".join(cluster.endpoints), name, str(ledger), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Payer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def freeze(cluster: LocalCluster, ledger: Path, story: Story) -> int:
    """One payer is frozen, the other takes over, the first thaws: its exit code."""
    async with payer(cluster, "first", ledger) as first:
        await first.says("owner")
        async with payer(cluster, "second", ledger) as second:
            await first.says(f"paying {FROZEN_AT}")
            first.freeze()
            story.say(f"the first payer is frozen while it pays invoice {FROZEN_AT} of {INVOICES}")
            epoch = await second.says("owner")
            story.say(f"its lease has expired: the second took over, in epoch {epoch}")
            await second.says("paid")
            first.thaw()
            story.say("the first thaws, and goes on as if nothing had been")
            await first.says("stale")
            story.say("it is refused: StaleOwner")
            await second.says("done")
            story.say("the second has paid the rest, and what was ambiguous with the same key")
            return await first.ended()


async def cut_off(cluster: LocalCluster, folder: Path, story: Story) -> tuple[ReconcileReport, list[MergeConflict]]:
    """The scout works offline, comes home on a branch, and the branch is merged."""
    async with (
        cluster.connect_beside("a", NAMESPACE, actor="scout") as client,
        cluster.connect_beside("b", NAMESPACE, actor="base") as base,
    ):
        scout = client.agent("scout")
        async with scout.outbox(folder / "scout.outbox", patience_s=PATIENCE_S) as box:
            await box.append(ops.set("/mood", "curious"), ops.set("/seen", {}))
            await cluster.partition(["a"], ["b", "c"])
            story.say("node a is cut off, and the scout with it")
            for place in PLACES:
                await box.append(ops.set(f"/seen/{place}", "by the scout"), ops.set("/mood", f"at the {place}"))
            story.say(f"it went on: {len(box.queued)} things wait in its outbox, and its state has them")
            await base.agent("scout").append(ops.set("/orders", "come back"), ops.set("/mood", "missed"))
            story.say("the base wrote to its log meanwhile")
            await cluster.heal()
            report = await box.reconcile()
            story.say(f"the partition is mended; what it did is on the branch {report.branch}")
            conflicts = list((await scout.history.merge(report.branch)).conflicts)
            merged = await scout.history.merge(report.branch, resolve="theirs")
            story.say(f"the branch is merged: {len(merged.changes)} changes, {len(conflicts)} in conflict and settled")
        return report, conflicts


def payments(ledger: Path) -> list[dict[str, JSON]]:
    """What the bank paid."""
    return [json.loads(line) for line in ledger.read_text().splitlines()]


async def read(
    client: Client, paid: list[dict[str, JSON]], frozen: int, report: ReconcileReport, conflicts: list[MergeConflict]
) -> Evidence:
    """What is there now."""
    state = (await client.agent(AGENT).read()).state
    actors = [mutation.actor async for mutation in client.agent(AGENT).log() if mutation.actor]
    seen: JSON = (await client.agent("scout").read()).state
    places = seen.get("seen") if isinstance(seen, dict) else None
    return Evidence(
        ledger=paid,
        frozen_exit=frozen,
        actors=actors,
        paid=state.get("paid") if isinstance(state, dict) else None,
        queued=PLACES,
        found=list(places) if isinstance(places, dict) else [],
        fates=[str(each.fate) for each in report.settled],
        conflicts=[conflict.path for conflict in conflicts],
    )


async def stage(story: Story) -> list[Check]:
    """Runs it and verifies it. Raises `TimeoutError` if it does not come to an end."""
    with tempfile.TemporaryDirectory(prefix="tallystick-owners-") as name:
        folder = Path(name)
        ledger = folder / "ledger"
        async with asyncio.timeout(DEADLINE_S), LocalCluster(nodes=3) as cluster:
            story.say("three nodes run")
            frozen = await freeze(cluster, ledger, story)
            report, conflicts = await cut_off(cluster, folder, story)
            async with cluster.connect(NAMESPACE) as client:
                return verify(await read(client, payments(ledger), frozen, report, conflicts))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a story")
    options = parser.parse_args(arguments)
    story = Story(is_quiet=options.json)
    try:
        checks = asyncio.run(stage(story))
    except (TimeoutError, AssertionError, ExceptionGroup, tallystick.TallystickError) as error:
        print(f"the demonstration failed: {error or f'no end after {DEADLINE_S:.0f} s'}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return INTERRUPTED
    is_ok = all(check.ok for check in checks)
    if options.json:
        print(json.dumps({"ok": is_ok, "moments": story.moments, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"  {'yes' if check.ok else 'NO '}  {check.name}: {check.detail}")
        print("all of it holds" if is_ok else "NOT all of it holds")
    return 0 if is_ok else BROKEN


if __name__ == "__main__":
    sys.exit(main())
