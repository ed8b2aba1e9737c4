"""The agent: moves the files of a folder, batch by batch, and can be killed at any instant.

    begin batch n (intent) -> copy -> sync -> batch n done, with checksums (result) -> checkpoint -> next

Rules of this file:
- Write-ahead: the intent is acknowledged before the first file is touched, the result after the last is on disk.
- A batch with a result is never touched again. An intent without one is ambiguous: whoever takes over looks at the
  target, and either records what it finds complete or copies the batch again.
- Every write carries `expected_seq`. Two agents that both believe to be the only one cannot both write: the log ends at
  one seq, the first append moves it, the other's is refused as `Conflict`, and it stops.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a file, too

import tallystick
from examples.migration import copying, notes
from examples.migration.leash import Leash
from examples.migration.notes import Notes
from examples.migration.plan import Plan, make_plan
from tallystick import Mutation, Snapshot, ops

NAMESPACE: Final = "demo"
BEGUN, DONE, RESUMED = "batch_begun", "batch_done", "resumed"
TAKEOVER_ATTEMPTS: Final = 3
FENCED: Final = 3
"""Exit code: another agent has written to the log."""


class PlanChanged(Exception):
    """The source is not what the log was begun with."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The agent's state, as far as it decides what comes next: the first batch without a result, and the one begun."""

    next_batch: int
    doing: int | None


class FencedLog:
    """The agent's log, written at the expected seq or not at all; what is acknowledged is noted."""

    def __init__(self, agent: tallystick.Agent, written: Notes, seq: int) -> None:
        self._agent = agent
        self._notes = written
        self._seq = seq

    async def append(self, *mutations: Mutation) -> None:
        """All of them or none. Raises `Conflict` if another agent has written since."""
        done = await self._agent.append_many(mutations, expected_seq=self._seq)
        self._seq = done.seq
        self._notes.acknowledged(done.seq, done.hash, str(done.revision))

    async def checkpoint(self, batch: int) -> None:
        """Names the point after a batch. Raises `Conflict` if another agent has written since."""
        made = await self._agent.checkpoint(f"batch-{batch}", step=batch + 1, expected_seq=self._seq)
        self._notes.acknowledged(made.seq, made.hash, str(made.revision), made.name)


class Migration:
    """One process's share of the migration: from where the log is to the end, or to its own."""

    def __init__(self, plan: Plan, source: Path, target: Path, written: Notes) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._notes = written

    async def run(self, agent: tallystick.Agent, leash: Leash, holds: Sequence[int]) -> None:
        """Goes on from what the log says. `holds` are batches in whose middle to wait for a line on the leash."""
        log, progress = await self._take_over(agent)
        for batch in range(progress.next_batch, len(self._plan.batches)):
            if batch == progress.doing:  # begun by one who did not live to say how it ended
                sums = await asyncio.to_thread(self._find, batch)
            else:
                await log.append(Mutation.of(ops.set("/doing", batch)), Mutation.event(BEGUN, {"batch": batch}))
                sums = None
            if sums is None:
                sums = await self._copy(batch, leash if batch in holds else None)
            await log.append(
                Mutation.event(DONE, {"batch": batch, "sha256": sums}),
                Mutation.of(
                    ops.merge("", {"doing": None, "next_batch": batch + 1}), ops.increment("/files", len(sums))
                ),
            )
            await log.checkpoint(batch)
        copying.remove_staging(self._target)

    async def _take_over(self, agent: tallystick.Agent) -> tuple[FencedLog, Progress]:
        """Makes the log ours. The last write of one who was killed may still arrive in between: then look again."""
        for _ in range(TAKEOVER_ATTEMPTS - 1):
            with contextlib.suppress(tallystick.Conflict):
                return await self._begin(agent)
        return await self._begin(agent)

    async def _begin(self, agent: tallystick.Agent) -> tuple[FencedLog, Progress]:
        """Writes the first mutation, or says that another goes on: from then on no other agent can write."""
        snap = await agent.rehydrate()
        log = FencedLog(agent, self._notes, snap.seq)
        if snap.seq == 0:
            plan = {"plan": self._plan.digest, "source": str(self._source), "target": str(self._target)}
            await log.append(Mutation.of(ops.replace({**plan, "next_batch": 0, "files": 0}), cause="migration"))
            return log, Progress(0, None)
        progress = self._progress(snap)
        await log.append(Mutation.event(RESUMED, {"next_batch": progress.next_batch, "doing": progress.doing}))
        if progress.next_batch > (snap.checkpoint.step if snap.checkpoint else 0):  # killed before its checkpoint
            await log.checkpoint(progress.next_batch - 1)
        return log, progress

    def _progress(self, snap: Snapshot) -> Progress:
        match snap.state:
            case {"plan": self._plan.digest, "next_batch": int(next_batch), **rest}:
                doing = rest.get("doing")
                return Progress(next_batch, doing if isinstance(doing, int) else None)
        raise PlanChanged(f"{self._source} is not what this log was begun with")

    def _find(self, batch: int) -> dict[str, str] | None:
        """The checksums of a batch that is complete in the target; None: it has to be copied."""
        paths = self._plan.batches[batch]
        there = copying.checksums(self._target, paths)
        if there != copying.checksums(self._source, paths):
            return None
        self._notes.worked(notes.FOUND, batch)
        return there

    async def _copy(self, batch: int, leash: Leash | None) -> dict[str, str]:
        """Copies a batch, in two halves; with a leash, it waits between them."""
        paths = self._plan.batches[batch]
        half = len(paths) // 2
        self._notes.worked(notes.STARTED, batch)
        sums = await asyncio.to_thread(copying.copy_files, self._source, self._target, paths[:half])
        if leash is not None:
            await leash.hold(f"batch {batch}")
        sums |= await asyncio.to_thread(copying.copy_files, self._source, self._target, paths[half:])
        self._notes.worked(notes.COPIED, batch)
        return sums


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Move the files of a folder; killed, start it again and it goes on.")
    parser.add_argument("--endpoints", required=True, help="of the cluster, separated by commas")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True, help="folder for the ledger and the work log")
    parser.add_argument("--name", default="migrator", help="of the agent in the store")
    parser.add_argument("--pattern", default="*", help="which files, for example *.py")
    parser.add_argument("--leash", action="store_true", help="end when standard input ends")
    parser.add_argument("--standby", action="store_true", help="with --leash: begin when a line comes")
    parser.add_argument(
        "--hold-in", type=int, action="append", default=[], metavar="BATCH", help="wait for a line there"
    )
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> int:
    """Runs the agent; the exit code."""
    leash = Leash()
    follower = asyncio.create_task(leash.follow()) if options.leash else None
    plan = await asyncio.to_thread(make_plan, options.source, options.pattern)
    who = f"{options.name}-{os.getpid()}"
    with Notes(options.notes, who) as written:
        async with tallystick.connect(options.endpoints, namespace=NAMESPACE, timeout_s=30.0, actor=who) as client:
            migration = Migration(plan, options.source, options.target, written)
            if options.standby:
                await leash.hold("standby")
            try:
                await migration.run(client.agent(options.name), leash, options.hold_in)
            except tallystick.Conflict as error:
                print(f"another agent goes on with {options.name}: {error}", file=sys.stderr)
                return FENCED
    if follower is not None:
        follower.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
