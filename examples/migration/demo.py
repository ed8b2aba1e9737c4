"""A migration that survives kill -9, staged: `make demo`, or `python examples/migration/demo.py --source FOLDER`.

Three nodes, an agent that moves files, another that stands by: all real processes. In the middle of one batch the
leader is killed, in the middle of another the agent; at the end everything is checked. Exit code 0: all of it holds.

Rules of this file:
- It acts on events of the agent's log, never on time. The agent waits in the middle of the two batches until this has
  killed (`leash`), so a kill cannot come too early or too late.
- A recovery lasts from just before the kill until a watch shows the next acknowledged event.
- Who decides that an agent is dead is its supervisor, here this file. Should a supervisor err, `expected_seq` lets only
  one of the two agents write; leases, in a later version, will let the standby decide by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a file, too

import grpc

import tallystick
from examples.migration import notes, verify
from examples.migration.agent import BEGUN, NAMESPACE
from examples.migration.cluster import Cluster, Node
from examples.migration.node_log import NodeLog, WrongNode, open_node
from examples.migration.plan import Plan, default_source, make_plan
from examples.migration.processes import Child, ChildFailed, Children
from examples.migration.report import Report
from examples.migration.timeline import Failure, Kind, Timeline
from tallystick import CheckpointEvent, Event, MutationEvent, Revision

AGENT: Final = "migrator"
DEADLINE_S: Final = 150.0
BATCHES_MIN: Final = 6
USAGE, BROKEN, INTERRUPTED = 2, 1, 130


@dataclass(frozen=True, slots=True)
class Setting:
    """What is moved where. `pattern` says which files."""

    source: Path
    pattern: str
    folder: Path
    plan: Plan

    @property
    def target(self) -> Path:
        """Where the files go."""
        return self.folder / "target"

    @property
    def notes(self) -> Path:
        """Where the agents note what was acknowledged and what they did."""
        return self.folder / "notes"


class Director:
    """Watches the agent's log, kills on cue, and times the recoveries."""

    def __init__(self, setting: Setting, children: Children, timeline: Timeline, report: Report) -> None:
        self._setting = setting
        self._children = children
        self._timeline = timeline
        self._report = report
        self._cluster = Cluster(setting.folder / "nodes", children)
        count = len(setting.plan.batches)
        self._leader_batch, self._agent_batch = count // 3, 2 * count // 3
        self._return_batch = (self._leader_batch + self._agent_batch) // 2
        self._open: Failure | None = None
        self._revision = Revision(0, 0)
        self._victim: Node | None = None

    async def run(self) -> list[NodeLog]:
        """The whole migration; gives the log as each node has it at the end."""
        await self._cluster.start()
        async with tallystick.connect(self._cluster.endpoints, namespace=NAMESPACE, timeout_s=30.0) as client:
            leader = await self._cluster.leader(client)
            self._report.say(f"three nodes run, node {leader.name} leads")
            beginning = await client.agent(AGENT).rehydrate()
            primary = await self._start_agent("primary")
            standby = await self._start_agent("standby")
            await standby.holds()
            self._report.say(f"agent {primary.pid} begins, agent {standby.pid} stands by")
            async with aclosing(client.watch(agent=AGENT, after=beginning.revision)) as events:
                async for event in events:
                    await self._on_event(event, client, primary, standby)
                    if isinstance(event, CheckpointEvent) and event.checkpoint.step == len(self._setting.plan.batches):
                        break
        await standby.exited
        self._report.say(f"all {len(self._setting.plan.batches)} batches are done and checkpointed")
        return await self._read_nodes()

    async def _on_event(self, event: Event, client: tallystick.Client, primary: Child, standby: Child) -> None:
        self._revision = event.revision
        if self._open is not None:
            self._recovered(self._open)
        if isinstance(event, CheckpointEvent):
            self._report.batches_done(event.checkpoint.step)
        batch = _begun(event)
        if batch == self._leader_batch:
            await primary.holds()  # half of the batch is copied
            await self._kill_leader(client, batch)
            primary.tell()
        elif batch == self._return_batch and self._victim is not None:
            await self._cluster.start_node(self._victim)
            self._report.say(f"node {self._victim.name} starts again, on what its disk has")
        elif batch == self._agent_batch:
            await primary.holds()
            await self._kill_agent(primary, batch)
            standby.tell()

    async def _kill_leader(self, client: tallystick.Client, batch: int) -> None:
        node = await self._cluster.leader(client)
        self._fails("leader", f"node {node.name}", batch)
        await self._cluster.kill(node)
        self._victim = node
        self._report.say(f"kill -9 of the leader, node {node.name}, during batch {batch}", Kind.FAILURE)

    async def _kill_agent(self, agent: Child, batch: int) -> None:
        self._fails("agent", f"agent {agent.pid}", batch)
        agent.signal(signal.SIGKILL)
        await asyncio.shield(agent.exited)
        self._report.say(f"kill -9 of agent {agent.pid}, during batch {batch}; the standby is told", Kind.FAILURE)

    def _fails(self, victim: str, who: str, batch: int) -> None:
        self._open = Failure(victim, who, batch, self._timeline.elapsed_s)
        self._timeline.failures.append(self._open)

    def _recovered(self, failure: Failure) -> None:
        failure.recovery_s = self._timeline.elapsed_s - failure.at_s
        self._open = None
        what = "a new leader acknowledged" if failure.victim == "leader" else "the standby rehydrated and went on"
        self._report.say(f"{what}, {failure.recovery_s:.2f} s after the kill", Kind.RECOVERY)

    async def _start_agent(self, role: str) -> Child:
        setting = self._setting
        command = [
            sys.executable, str(Path(__file__).with_name("agent.py")), "--leash", f"--name={AGENT}",
            f"--endpoints={self._cluster.endpoints}", f"--source={setting.source}", f"--pattern={setting.pattern}",
            f"--target={setting.target}", f"--notes={setting.notes}",
        ]  # fmt: skip
        if role == "standby":
            command += ["--standby"]
        else:
            command += [f"--hold-in={self._leader_batch}", f"--hold-in={self._agent_batch}"]
        return await self._children.start(role, command, setting.folder / f"{role}.log", leash=True)

    async def _read_nodes(self) -> list[NodeLog]:
        logs = []
        for node in self._cluster.nodes:
            async with open_node(node.name, node.endpoint, namespace=NAMESPACE, agent=AGENT) as reader:
                await reader.reach(self._revision)
                logs.append(await reader.read())
        self._report.say(f"every node has reached revision {self._revision}")
        return logs


def _begun(event: Event) -> int | None:
    """The batch whose intent this is."""
    if isinstance(event, MutationEvent) and event.mutation.kind == BEGUN:
        match event.mutation.payload:
            case {"batch": int(batch)}:
                return batch
    return None


async def stage(setting: Setting, timeline: Timeline, report: Report, *, damage: bool) -> None:
    """Runs the migration and verifies it. Raises `ChildFailed` or `TimeoutError` if it does not come to an end."""
    async with AsyncExitStack() as stack:
        stack.enter_context(report)
        if (task := asyncio.current_task()) is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        children = await stack.enter_async_context(Children())
        await stack.enter_async_context(asyncio.timeout(DEADLINE_S))
        run = asyncio.create_task(Director(setting, children, timeline, report).run())
        try:
            race: list[asyncio.Task[list[NodeLog]] | asyncio.Future[None]] = [run, children.failed]
            await asyncio.wait(race, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                children.failed.result()
            logs = await run
        finally:
            run.cancel()
        if damage:
            _damage(setting)
        acks, work = notes.read_ledger(setting.notes), notes.read_work(setting.notes)
        evidence = verify.Evidence(setting.plan, setting.source, setting.target, logs, acks, work)
        timeline.checks = await asyncio.to_thread(verify.verify, evidence)


def _damage(setting: Setting) -> None:
    """Alters a file that was moved: the verification has to notice."""
    with (setting.target / setting.plan.files[0]).open("ab") as file:
        file.write(b"?")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--source", type=Path, help="what to move [default: the standard library's sources]")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder: target, data, logs, notes")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a screen")
    parser.add_argument("--damage", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> int:
    """Runs the demonstration; the exit code."""
    source = (options.source or default_source()).resolve()
    pattern = "*" if options.source else "*.py"
    plan = make_plan(source, pattern)
    if len(plan.batches) < BATCHES_MIN:
        print(f"{source} has {len(plan.files)} files; the demonstration needs {BATCHES_MIN}", file=sys.stderr)
        return USAGE
    folder = Path(tempfile.mkdtemp(prefix="tallystick-demo-"))
    timeline = Timeline(len(plan.batches), len(plan.files), plan.size_bytes)
    report = Report(timeline, as_json=options.json)
    report.say(f"{len(plan.files)} files, {plan.size_bytes / 1e6:.1f} MB, {len(plan.batches)} batches from {source}")
    try:
        asyncio.run(stage(Setting(source, pattern, folder, plan), timeline, report, damage=options.damage))
    except (ChildFailed, WrongNode, TimeoutError, grpc.RpcError, tallystick.TallystickError) as error:
        print(f"the demonstration failed: {error or f'no end after {DEADLINE_S:.0f} s'}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    report.conclude()
    return 0 if timeline.ok else BROKEN


if __name__ == "__main__":
    sys.exit(main(parse()))
