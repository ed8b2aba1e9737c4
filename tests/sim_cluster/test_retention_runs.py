"""Retention where nodes fail: what goes is in the archive first, whole and linked; what is held stays."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick import (
    Client,
    Compacted,
    NoLeader,
    Overloaded,
    RetainedLog,
    RetentionHold,
    RetentionPlan,
    RetentionPolicy,
    Unavailable,
    ops,
)
from tallystick.history import ExportReader, export
from tallystick.history.export_format import ExportedBase, ExportedCheckpoint
from tallystick.testing import SimCluster
from tallystick_node.cli import main
from tallystick_node.cli.exits import ExitCode
from tallystick_node.cli.status import _alarm
from tallystick_node.config.values import ArchiveSetting
from tallystick_node.core.commands import Target
from tallystick_node.retention.archives.port import ArchiveFailed
from tallystick_node.retention.keeper import RUNS_ASKED, RetentionKeeper

FIVE = RetentionPolicy(max_mutations=5, archive="cold")
BARE = RetentionPolicy(max_mutations=5)
Scenario = Callable[[SimCluster, Client], Awaitable[None]]


def simulated(scenario: Scenario, folder: Path, *, nodes: int = 1, seed: int = 1, every_s: float = 1e6) -> None:
    async def with_client(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=30.0) as client:
            await scenario(cluster, client)

    archives = (ArchiveSetting("cold", folder),)
    with SimCluster(nodes=nodes, seed=seed, archives=archives, retention_every_s=every_s) as cluster:
        cluster.run(with_client)


async def grown(client: Client, count: int, name: str = "ann", *, branch: str = "main") -> None:
    """The log is longer by so many mutations that count `/n`, with a checkpoint at each seventh."""
    agent = client.agent(name, branch=branch)
    for _ in range(count):
        done = await agent.append(ops.increment("/n"))
        if done.seq % 7 == 0:
            await agent.checkpoint(f"{branch}-{done.seq}")


async def ran(client: Client, prefix: str = "") -> list[RetainedLog]:
    return [done async for done in client.retention.run(prefix=prefix)]


async def planned(client: Client, policy: RetentionPolicy | None = None) -> list[RetentionPlan]:
    return [plan async for plan in client.retention.plan(policy)]


async def kept(client: Client, name: str = "ann", *, branch: str = "main") -> dict[int, bytes]:
    """The hashes of the mutations that are kept, by seq."""
    agent = client.agent(name, branch=branch)
    return {mutation.seq: mutation.hash async for mutation in agent.log(raw=True)}


def archived(folder: Path) -> dict[int, bytes]:
    """The hashes of the mutations that are archived, by seq; each file is whole, and they link."""
    found: dict[int, bytes] = {}
    for file in files(folder):
        with gzip.open(file) as lines:
            for record in ExportReader(lines):
                if not isinstance(record, (ExportedBase, ExportedCheckpoint)):
                    assert found.setdefault(record.seq, record.hash) == record.hash
    if found:
        result = CliRunner().invoke(main, ["verify", "export", *map(str, files(folder))])
        assert result.exit_code == 0, result.output
    return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl.gz"))


def keeper_of(cluster: SimCluster, node_id: str) -> RetentionKeeper:
    node = cluster.nodes[node_id]._node
    assert node is not None
    return node._retention_keeper


def test_what_goes_is_archived_and_consecutive_files_link(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 30)
        whole = await kept(client)
        await client.retention.set(FIVE)
        (plan,) = await planned(client)
        assert (plan.first_seq, plan.below_seq, plan.wanted_below_seq, plan.mutations) == (1, 26, 26, 25)
        assert plan.size_bytes > 100 and plan.held == ()
        assert await kept(client) == whole  # nothing is changed by that
        (done,) = await ran(client)
        assert (done.first_seq, done.mutations, done.size_bytes) == (26, 25, plan.size_bytes)
        assert (
            done.checkpoints == plan.checkpoints and done.failure == "" and done.archived_to.startswith(str(tmp_path))
        )
        assert await planned(client) == [] and await ran(client) == []
        await grown(client, 20)
        await ran(client)
        after = await kept(client)
        assert list(after) == list(range(46, 51)) and archived(tmp_path) == {
            seq: hash_ for seq, hash_ in {**whole, **archived(tmp_path)}.items() if seq < 46
        }
        with pytest.raises(Compacted):  # nothing else is taken for what is gone
            keeper_of(cluster, "a")._looks.hash_at(Target("demo", "ann", "main"), 1)
        snapshot = await client.agent("ann").rehydrate()
        assert snapshot.state == {"n": 50} and snapshot.checkpoint is not None
        status = await client.status()
        assert status.retention is not None and status.retention.mutations == 45 and status.retention.failure == ""

    simulated(scenario, tmp_path)


def test_an_export_of_what_is_left_begins_where_the_archive_ends(tmp_path: Path) -> None:
    exported = tmp_path / "rest.tallylog"

    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 20)
        await client.retention.set(FIVE)
        await ran(client)
        exported.write_bytes(b"".join([line async for line in export(client.agent("ann"))]))

    simulated(scenario, tmp_path)
    result = CliRunner().invoke(main, ["verify", "export", *map(str, files(tmp_path)), str(exported)])
    assert result.exit_code == 0 and "5 mutations after 15" in result.output, result.output


def test_what_is_held_stays_and_is_told(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 30)
        agent = client.agent("ann")
        branch = await agent.fork("try", at=9)
        await grown(client, 12, branch="try")
        await client.retention.set(FIVE)
        main_log, on_branch = await planned(client)
        assert (main_log.below_seq, main_log.wanted_below_seq) == (10, 26)
        assert [(held.hold, held.seq, held.detail) for held in main_log.held] == [(RetentionHold.BRANCH, 10, "try")]
        assert (on_branch.branch, on_branch.first_seq, on_branch.below_seq) == ("try", 10, 17)
        assert [(done.branch, done.mutations) for done in await ran(client)] == [("main", 9), ("try", 7)]
        assert (await branch.rehydrate()).state == {"n": 21}
        assert (await agent.rehydrate()).state == {"n": 30}
        await ran(client)  # the branch has a beginning of its own now
        assert list(await kept(client)) == list(range(26, 31))
        await agent.pin("main-28")
        await grown(client, 20)
        await ran(client)
        assert (await agent.read(checkpoint="main-28")).state == {"n": 28}
        await agent.unpin("main-28")
        await grown(client, 20)
        await ran(client)
        with pytest.raises(Compacted):
            await agent.read(checkpoint="main-28")
        result = CliRunner().invoke(main, ["verify", "export", *map(str, files(tmp_path))])
        assert result.exit_code == 0, result.output
        assert {file.parent.name for file in files(tmp_path)} == {"main", "try"}

    simulated(scenario, tmp_path)


def test_age_and_size_are_bounds_too_and_a_plan_may_try_another_policy(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 10)
        await cluster.sleep(100)
        await grown(client, 10)
        for policy, below in (
            (RetentionPolicy(max_age_s=50), 11),
            (RetentionPolicy(max_age_s=500), None),
            (RetentionPolicy(max_mutations=3, max_age_s=50), 18),
            (RetentionPolicy(max_log_bytes=1), 20),
            (RetentionPolicy(max_log_bytes=10**6), None),
            (RetentionPolicy(), None),
        ):
            assert [plan.below_seq for plan in await planned(client, policy)] == ([below] if below else []), policy
        sizes = [plan.size_bytes for plan in await planned(client, RetentionPolicy(max_mutations=10))]
        (half,) = await planned(client, RetentionPolicy(max_log_bytes=sizes[0]))
        assert half.below_seq == 11  # all mutations have one size
        assert await ran(client) == []  # for none of them is set

    simulated(scenario, tmp_path)


def test_the_leader_does_it_by_itself_and_all_nodes_agree(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        for name in ("ann", "bob"):
            await grown(client, 12, name)
        await client.retention.set(FIVE)
        await cluster.sleep(15)
        assert [list(await kept(client, name)) for name in ("ann", "bob")] == [list(range(8, 13))] * 2
        await cluster.wait_equal()
        assert len(files(tmp_path)) == 2

    simulated(scenario, tmp_path, nodes=3, every_s=10)


def test_an_archive_that_fails_keeps_everything_and_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "not-mounted"

    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 20)
        await grown(client, 20, "bob")
        await client.retention.set(FIVE)
        failed, not_tried = await ran(client)
        assert "not-mounted" in failed.failure and failed.mutations == 0
        assert "failed before in this run" in not_tried.failure
        assert len(await kept(client)) == len(await kept(client, "bob")) == 20
        status = await client.status()
        assert status.alarms == ("ARCHIVE:cold",) and status.retention is not None
        assert status.retention.failure.startswith("demo/")
        shown = _alarm(status, "ARCHIVE:cold").plain
        assert "the archive cold" in shown and "not-mounted" in shown
        folder.mkdir()
        assert [done.failure for done in await ran(client)] == ["", ""]
        assert (await client.status()).alarms == ()
        await client.retention.set(RetentionPolicy(max_mutations=2, archive="other"))
        (unknown, _) = await ran(client)
        assert "no archive 'other'" in unknown.failure and len(await kept(client)) == 5

    simulated(scenario, folder)


def test_an_agent_that_is_made_anew_meanwhile_is_left_alone(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 20)
        await client.retention.set(FIVE)
        keeper = keeper_of(cluster, "a")
        compact = keeper._compact

        async def late(*args: object, **kwargs: object) -> object:
            keeper._compact = compact
            await client.agent("ann").delete()
            await grown(client, 18)
            return await compact(*args, **kwargs)  # type: ignore[arg-type]  # as they came

        keeper._compact = late  # type: ignore[assignment]  # the same signature
        (done,) = await ran(client)
        assert done.mutations == 0 and done.failure
        assert len(await kept(client)) == 18
        (done,) = await ran(client)  # its own are archived beside the others'
        assert done.mutations == 13 and len(files(tmp_path)) == 2

    simulated(scenario, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_killed_between_the_archive_and_the_removal_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 30)
        whole = await kept(client)
        await client.retention.set(FIVE)
        leader = await cluster.wait_for_leader()

        async def killed(*_args: object, **_kwargs: object) -> object:
            cluster.kill(leader)
            await asyncio.sleep(3600)
            raise AssertionError("it is gone")

        keeper_of(cluster, leader)._compact = killed  # type: ignore[assignment]  # never returns
        (done,) = await ran(client)  # the next leader is asked again
        assert done.mutations == 25 and done.failure == ""
        after = await kept(client)
        found = archived(tmp_path)
        assert {**found, **after} == whole and len(after) == 5
        await cluster.start(leader)
        await cluster.wait_equal()

    simulated(scenario, tmp_path, nodes=3, seed=seed)


class Slow:
    """An archive that takes long, and then has it."""

    async def has(self, name: str) -> bool:
        return name in self.puts

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.puts: list[str] = []

    async def put(self, name: str, data: bytes) -> str:
        self.puts.append(name)
        await asyncio.sleep(self._seconds)
        return name


def test_a_leader_that_is_cut_off_while_it_archives_removes_nothing(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 30)
        await client.retention.set(FIVE)
        leader = await cluster.wait_for_leader()
        keeper = keeper_of(cluster, leader)
        keeper._archiving._archives = {"cold": Slow(20.0)}
        looking = asyncio.create_task(keeper.look())
        await asyncio.sleep(5)
        cluster.partition([leader], cluster.others(leader))
        await cluster.wait_for_leader(among=cluster.others(leader))
        with pytest.raises((NoLeader, Unavailable)):
            await looking
        cluster.heal()
        assert len(await kept(client)) == 30
        assert sum([done.mutations for done in await ran(client)]) == 25
        await cluster.wait_equal()

    simulated(scenario, tmp_path, nodes=3)


def test_who_led_and_archived_leaves_the_removal_to_who_leads_now(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 30)
        await client.retention.set(FIVE)
        keeper = keeper_of(cluster, await cluster.wait_for_leader())
        keeper._archiving._archives = {"cold": Slow(20.0)}
        looking = asyncio.create_task(keeper.look())
        await asyncio.sleep(5)
        await client.members.transfer_leadership()
        with pytest.raises(NoLeader):
            await looking
        assert len(await kept(client)) == 30

    simulated(scenario, tmp_path, nodes=3)


def test_a_slow_archive_stalls_nobody_and_is_waited_for(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 12)
        await client.retention.set(FIVE)
        archiving = keeper_of(cluster, "a")._archiving
        slow = Slow(20.0)
        archiving._archives = {"cold": slow}
        running = asyncio.create_task(ran(client))
        await asyncio.sleep(2)
        await grown(client, 1)  # the node goes on meanwhile
        assert len(await kept(client)) == 13
        (done,) = await running
        assert done.mutations == 7 and len(slow.puts) == 1
        stuck = Slow(1000.0)
        archiving._archives = {"cold": stuck}
        await grown(client, 10)
        (done,) = await ran(client)
        assert "has not answered" in done.failure and done.mutations == 0
        (done,) = await ran(client)
        assert done.failure and len(stuck.puts) == 1  # it is not asked twice

    simulated(scenario, tmp_path)


def test_runs_that_nobody_waits_for_go_on_and_are_bounded(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        name = "a" * (RUNS_ASKED + 2)
        await grown(client, 20, name)
        await client.retention.set(FIVE)
        keeper = keeper_of(cluster, "a")
        for number in range(2 * RUNS_ASKED):  # they end at once: nothing is due for these
            await keeper.run_now("demo", f"b{number}", 0.0)
            await cluster.sleep(0.1)
        keeper._archiving._archives = {"cold": Slow(30.0)}
        for length in range(RUNS_ASKED):
            assert (await keeper.run_now("demo", name[:length], 0.0)).more
        with pytest.raises(Overloaded):
            await keeper.run_now("demo", name, 0.0)
        await cluster.sleep(60)
        assert len(await kept(client, name)) == 5  # the first one did it, though nobody came back
        (done,) = (await keeper.run_now("demo", "", 1.0)).logs
        assert done.mutations == 15

    simulated(scenario, tmp_path)


def test_payloads_that_go_with_mutations_are_archived_before(tmp_path: Path) -> None:
    names: list[str] = []

    async def scenario(cluster: SimCluster, client: Client) -> None:
        large = await client.payloads.put(cluster.rng.randbytes(300_000))
        noted = await client.payloads.put(b"in a checkpoint")
        agent = client.agent("ann")
        for n in range(20):
            await agent.append(ops.set("/n", n), *([ops.set("/seen", large)] if n == 3 else ()))
            if n == 5:
                await agent.checkpoint("noted", metadata={"file": noted.to_json()})
        await agent.append(ops.delete("/seen"))
        await client.retention.set(FIVE)
        (done,) = await ran(client)
        assert done.failure == "" and done.mutations == 16
        names.extend([large.id, noted.id])
        await grown(client, 10)
        await ran(client)

    simulated(scenario, tmp_path)
    folder = tmp_path / "demo" / "_payloads"
    assert {file.stem for file in folder.iterdir()} == set(names)
    words = ["verify", "export", *map(str, files(tmp_path)), "--payloads", str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    (part,) = folder.glob(f"{names[0]}.00000")
    whole = part.read_bytes()
    for bent in (whole[:-1], whole + b"x", b"x" + whole[1:], None):
        part.unlink() if bent is None else part.write_bytes(bent)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == ExitCode.CORRUPT and names[0] in result.output
    (folder / f"{names[0]}.manifest").unlink()
    assert CliRunner().invoke(main, words).exit_code == ExitCode.CORRUPT


def test_who_follows_does_not_run_it(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 10)
        await client.retention.set(BARE)
        (follower, _) = cluster.others(await cluster.wait_for_leader())
        with pytest.raises(NoLeader):
            await keeper_of(cluster, follower).run_now("demo", "", 1.0)
        with pytest.raises(NoLeader):
            await keeper_of(cluster, follower).look()
        async with cluster.connect(nodes=[follower]) as asked:  # it is sent on to the leader
            assert [done.mutations async for done in asked.retention.run()] == [5]

    simulated(scenario, tmp_path, nodes=3)


def test_what_an_archive_does_in_an_unknown_way_is_a_failure_like_others(tmp_path: Path) -> None:
    class Broken:
        async def has(self, name: str) -> bool:
            raise KeyError(name)

        async def put(self, name: str, data: bytes) -> str:
            raise KeyError(name)

    async def scenario(cluster: SimCluster, client: Client) -> None:
        await grown(client, 10)
        await client.retention.set(FIVE)
        archiving = keeper_of(cluster, "a")._archiving
        archiving._archives = {"cold": Broken()}
        (done,) = await ran(client)
        assert "KeyError" in done.failure and len(await kept(client)) == 10
        assert issubclass(ArchiveFailed, Exception)

    simulated(scenario, tmp_path)
