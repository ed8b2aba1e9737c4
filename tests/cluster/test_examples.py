"""The examples, as their users run them; and that the demonstration's verdict can be no."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from examples.migration import notes, verify
from examples.migration.agent import BEGUN, DONE, FENCED, RESUMED
from examples.migration.copying import checksums
from examples.migration.leash import SUPERVISOR_GONE
from examples.migration.node_log import Entry, NodeLog, Point, open_node
from examples.migration.notes import Ack, Work
from examples.migration.plan import make_plan
from examples.migration.verify import Evidence
from tallystick import JSON, Revision
from tests.cluster.harness import Cluster
from tests.cluster.harness_wait import eventually

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
DEMO: Final = EXAMPLES / "migration" / "demo.py"
AGENT: Final = EXAMPLES / "migration" / "agent.py"
RUN_S: Final = 120.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """24 small files in some folders, one of them empty, and a link that is not to be followed."""
    folder = tmp_path / "source"
    for number in range(24):
        path = folder / f"part {number % 3}" / f"file-{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"line\n" * number * 100)
    (folder / "link").symlink_to("part 0/file-00.txt")
    return folder


@asynccontextmanager
async def running(
    command: Sequence[str | Path], *, environment: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program with pipes; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a Python program."""
    async with running(command, environment=environment) as process, asyncio.timeout(RUN_S):
        output, errors = await process.communicate()
        return await process.wait(), output.decode(), errors.decode()


async def line_of(process: asyncio.subprocess.Process) -> str:
    """Its next line of output; "" at the end."""
    assert process.stdout is not None
    async with asyncio.timeout(RUN_S):
        return (await process.stdout.readline()).decode()


# The demonstration.


async def test_demo_survives_both_kills(source: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code, output, errors = await run([DEMO, "--json", "--source", source], {"TMPDIR": str(temporary)})
    assert code == 0, output + errors
    told = json.loads(output)
    assert told["ok"] is True
    assert (told["files"], told["batches"]) == (24, 24)
    assert [(failure["victim"], failure["batch"]) for failure in told["failures"]] == [("leader", 8), ("agent", 16)]
    assert all(0 < failure["recovery_s"] < told["duration_s"] for failure in told["failures"])
    assert len(told["checks"]) == 6 and all(check["ok"] for check in told["checks"])
    kinds = [moment["kind"] for moment in told["timeline"] if moment["kind"] != "news"]
    assert kinds == ["failure", "recovery", "failure", "recovery"]
    assert not list(temporary.iterdir()), "the temporary folder was left"


async def test_demo_says_no_when_a_moved_file_was_altered(source: Path) -> None:
    code, output, errors = await run([DEMO, "--json", "--damage", "--source", source])
    assert code == 1, errors
    told = json.loads(output)
    assert told["ok"] is False
    assert [check["ok"] for check in told["checks"]] == [False, True, True, True, True, True]
    assert "part 0/file-00.txt differs from its source" in told["checks"][0]["detail"]


async def test_demo_refuses_a_source_too_small_to_fail_in(tmp_path: Path) -> None:
    code, _, errors = await run([DEMO, "--source", tmp_path])
    assert code == 2 and "needs 6" in errors


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
async def test_demo_leaves_no_process_however_it_ends(
    source: Path, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with running([DEMO, "--source", source], environment={"TMPDIR": str(temporary)}) as demo:
        while "stands by" not in (line := await line_of(demo)):
            assert line, "the demonstration ended"
        children = _children(demo.pid)
        assert len(children) == 5
        demo.send_signal(number)
        async with asyncio.timeout(RUN_S):
            assert await demo.wait() == expected

    async def all_gone() -> bool:
        return not any(_runs(pid) for pid in children)

    await eventually(all_gone, within_s=20.0, what="all children gone")
    if number is not signal.SIGKILL:
        assert not list(temporary.iterdir()), "the temporary folder was left"


async def test_demo_says_no_when_an_agent_dies_that_was_not_to(source: Path) -> None:
    async with running([DEMO, "--source", source]) as demo:
        while "stands by" not in (line := await line_of(demo)):
            assert line, "the demonstration ended"
        os.kill(int(line.partition("agent ")[2].split()[0]), signal.SIGKILL)
        async with asyncio.timeout(RUN_S):
            output, errors = await demo.communicate()
    assert demo.returncode == 1
    assert b"primary ended" in errors and b"NOT all of it holds" in output


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _runs(pid: str) -> bool:
    """A zombie runs no more: its parent is gone, whoever inherited it will reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# The agent and the quickstart, on a cluster.


async def test_killed_after_the_last_copy_nothing_is_copied_again(source: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "notes"
    async with Cluster(tmp_path / "cluster") as cluster:
        command = _agent_command(cluster, source, target, folder)
        async with running([*command, "--leash", "--hold-in=2"]) as first:
            assert await line_of(first) == "batch 2\n"
            first.kill()
            await first.wait()
        path = make_plan(source, "*").batches[2][0]  # what the killed agent was about to do
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes((source / path).read_bytes())
        code, _, errors = await run(command)
        assert code == 0, errors
        checks = verify.verify(await _evidence(cluster, source, target, folder))
        assert all(check.ok for check in checks), checks
    second = [work for work in notes.read_work(folder) if work.pid != first.pid]
    assert [(work.did, work.batch) for work in second[:2]] == [(notes.FOUND, 2), (notes.STARTED, 3)]


async def test_of_two_agents_that_both_live_one_goes_on_and_the_other_stops(source: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "notes"
    async with Cluster(tmp_path / "cluster") as cluster:
        command = _agent_command(cluster, source, target, folder)
        async with running([*command, "--leash", "--hold-in=2"]) as zombie:
            assert await line_of(zombie) == "batch 2\n"
            code, _, errors = await run(command)  # a supervisor that errs: the first one is alive
            assert code == 0, errors
            assert zombie.stdin is not None and zombie.stderr is not None
            zombie.stdin.write(b"\n")
            async with asyncio.timeout(RUN_S):
                said = await zombie.stderr.read()
                assert await zombie.wait() == FENCED, said
            assert b"another agent goes on" in said
        evidence = await _evidence(cluster, source, target, folder)
        assert verify.check_batches(evidence).ok and verify.check_one_writer(evidence).ok
        assert [entry.kind for entry in evidence.logs[0].entries].count(RESUMED) == 1
        assert checksums(target, evidence.plan.files) == checksums(source, evidence.plan.files)


async def test_an_agent_ends_with_its_supervisor(source: Path, tmp_path: Path) -> None:
    arguments = [
        "--endpoints=127.0.0.1:1",
        f"--source={source}",
        f"--target={tmp_path}",
        f"--notes={tmp_path / 'notes'}",
    ]
    async with running([AGENT, *arguments, "--leash", "--standby"]) as agent, asyncio.timeout(RUN_S):
        assert await line_of(agent) == "standby\n"
        assert agent.stdin is not None
        agent.stdin.close()
        assert await agent.wait() == SUPERVISOR_GONE


async def test_quickstart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        environment = {"TALLYSTICK_ENDPOINTS": _endpoints(cluster)}
        for runs in (1, 2):
            code, output, errors = await run([EXAMPLES / "quickstart.py"], environment)
            assert code == 0, errors
            assert f"checkpoint run-{runs} at seq {runs}" in output
            assert output.count("watched") == 2
        async with cluster.connect("demo") as client:
            snap = await client.agent("quickstart").read()
            assert snap.state == {"runs": 2, "done": ["run 1", "run 2"]}


def _endpoints(cluster: Cluster) -> str:
    return ",".join(map(cluster.endpoint, cluster.node_ids))


def _agent_command(cluster: Cluster, source: Path, target: Path, folder: Path) -> list[str | Path]:
    endpoints = f"--endpoints={_endpoints(cluster)}"
    return [AGENT, endpoints, f"--source={source}", f"--target={target}", f"--notes={folder}"]


async def _evidence(cluster: Cluster, source: Path, target: Path, folder: Path) -> Evidence:
    acks = notes.read_ledger(folder)
    logs = []
    for node_id in cluster.node_ids:
        async with open_node(node_id, cluster.endpoint(node_id), namespace="demo", agent="migrator") as reader:
            async with asyncio.timeout(RUN_S):
                await reader.reach(Revision.parse(acks[-1].revision))
                logs.append(await reader.read())
    return Evidence(make_plan(source, "*"), source, target, logs, acks, notes.read_work(folder))


# The verdict: what is right is said to be, and each lie is found by the check that is for it.


def _sound(source: Path, target: Path) -> Evidence:
    """Evidence of a migration without a fault, as two nodes would give it."""
    plan = make_plan(source, "*")
    entries: list[Entry] = []
    acks: list[Ack] = []
    work: list[Work] = []
    points: list[Point] = []

    def add(kind: str, payload: JSON) -> None:
        seq = len(entries) + 1
        entries.append(Entry(seq, kind, payload, "one", f"hash {seq}", f"1.{seq}"))

    for batch, paths in enumerate(plan.batches):
        for path in paths:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes((source / path).read_bytes())
        sums: dict[str, JSON] = {}
        sums.update(checksums(source, paths))
        add("state", None)
        add(BEGUN, {"batch": batch})
        add(DONE, {"batch": batch, "sha256": sums})
        add("state", None)
        last = entries[-1]
        work += [Work(notes.STARTED, batch, 1, batch + 0.1), Work(notes.COPIED, batch, 1, batch + 0.2)]
        acks += [Ack(last.seq, last.hash, last.revision, "", batch + 0.5)]
        points += [Point(f"batch-{batch}", last.seq, last.hash, f"2.{batch}", "digest")]
        acks += [Ack(last.seq, last.hash, f"2.{batch}", f"batch-{batch}", batch + 0.6)]
    logs = [NodeLog(node, tuple(entries), tuple(points), b"{}") for node in ("a", "b")]
    return Evidence(plan, source, target, logs, acks, work)


Lie = Callable[[Evidence], Evidence]


def _of_b(evidence: Evidence, change: Callable[[NodeLog], NodeLog]) -> Evidence:
    return dataclasses.replace(evidence, logs=[evidence.logs[0], change(evidence.logs[1])])


def _of_both(evidence: Evidence, entries: tuple[Entry, ...]) -> Evidence:
    return dataclasses.replace(evidence, logs=[dataclasses.replace(log, entries=entries) for log in evidence.logs])


def _a_stray_file(evidence: Evidence) -> Evidence:
    (evidence.target / "stray").touch()
    return evidence


def _a_missing_file(evidence: Evidence) -> Evidence:
    (evidence.target / evidence.plan.files[-1]).unlink()
    return evidence


def _both_altered(evidence: Evidence) -> Evidence:
    for folder in (evidence.source, evidence.target):
        (folder / evidence.plan.files[0]).write_text("another")
    return evidence


def _other_writer(evidence: Evidence) -> Evidence:
    entries = evidence.logs[0].entries
    return _of_both(evidence, (entries[0], dataclasses.replace(entries[1], actor="two"), *entries[2:]))


def _more_work(did: str, at_s: float) -> Lie:
    return lambda evidence: dataclasses.replace(evidence, work=[*evidence.work, Work(did, 0, 2, at_s)])


LIES: Final[list[tuple[str, Lie]]] = [
    ("check_files", _a_stray_file),
    ("check_files", _a_missing_file),
    ("check_files", _both_altered),
    ("check_batches", lambda e: _of_both(e, e.logs[0].entries[:-2])),
    ("check_batches", lambda e: _of_both(e, e.logs[0].entries + e.logs[0].entries[2:3])),
    ("check_work", _more_work(notes.COPIED, 0.3)),
    ("check_work", _more_work(notes.STARTED, 0.7)),
    ("check_work", lambda e: dataclasses.replace(e, work=e.work[2:])),
    ("check_acknowledged", lambda e: _of_b(e, lambda log: dataclasses.replace(log, entries=log.entries[:-1]))),
    ("check_acknowledged", lambda e: _of_b(e, lambda log: dataclasses.replace(log, checkpoints=log.checkpoints[1:]))),
    ("check_acknowledged", lambda e: dataclasses.replace(e, acks=[Ack(4, "other", "1.4", "", 0.0)])),
    ("check_acknowledged", lambda e: dataclasses.replace(e, acks=[])),
    ("check_nodes_agree", lambda e: _of_b(e, lambda log: dataclasses.replace(log, state=b"{ }"))),
    ("check_nodes_agree", lambda e: _of_both(e, e.logs[0].entries[1:])),
    ("check_one_writer", _other_writer),
]


def test_sound_evidence_passes_every_check(source: Path, tmp_path: Path) -> None:
    checks = verify.verify(_sound(source, tmp_path / "target"))
    assert len(checks) == 6 and all(check.ok for check in checks), checks


@pytest.mark.parametrize(("check", "lie"), LIES)
def test_each_lie_is_found(source: Path, tmp_path: Path, check: str, lie: Lie) -> None:
    evidence = lie(_sound(source, tmp_path / "target"))
    found = {
        "check_files": verify.check_files,
        "check_batches": verify.check_batches,
        "check_work": verify.check_work,
        "check_acknowledged": verify.check_acknowledged,
        "check_nodes_agree": verify.check_nodes_agree,
        "check_one_writer": verify.check_one_writer,
    }[check](evidence)
    assert not found.ok, found
