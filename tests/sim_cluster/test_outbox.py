"""Working while cut off, and coming home, on real nodes under virtual time: nothing lost, nothing done twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tallystick import Agent, Client, Conflict, Invalid, NotFound, RetentionPolicy, Unavailable, Undecided, ops
from tallystick.history import MergeConflict
from tallystick.outbox import Fate, Outbox, ReconcileReport
from tallystick.outbox.line import Line
from tallystick.testing import SimCluster

T = TypeVar("T")


def run(scenario: Callable[[SimCluster], Awaitable[None]], seed: int = 1) -> None:
    with SimCluster(nodes=3, seed=seed) as cluster:
        cluster.run(scenario)


def fates(report: ReconcileReport) -> list[Fate]:
    return [each.fate for each in report.settled]


async def online_again(box: Outbox) -> None:
    async with asyncio.timeout(60):  # of virtual time
        await box.wait_online()


async def test_online_an_append_is_decided_before_it_returns(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(tmp_path / "a.outbox") as box:
                for n in range(5):
                    assert (await box.append(ops.append("/log", n))).seq == n + 1
                await box.record("note", {"x": 1})
                assert box.is_online and not box.queued and box.seq == 6
                assert box.state == (await agent.read()).state == {"log": [0, 1, 2, 3, 4]}
                with pytest.raises(Invalid):
                    await box.append(ops.delete("/nothing"))
                assert box.state == {"log": [0, 1, 2, 3, 4]} and not box.queued and not box.refused

    await asyncio.to_thread(run, scenario)


async def test_cut_off_it_goes_on_and_comes_home_by_itself(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(tmp_path / "a.outbox") as box:
                await box.append(ops.set("/n", 0))
                cluster.partition(["clients"], cluster.node_ids)
                for n in range(1, 6):
                    assert (await box.append(ops.set("/n", n))).seq is None
                assert not box.is_online and box.state == {"n": 5} and box.seq == 1
                cluster.heal()
                await online_again(box)
                assert not box.queued and (await agent.read()).state == {"n": 5}
                assert (await box.append(ops.set("/n", 6))).seq == 7

    await asyncio.to_thread(run, scenario)


async def test_offline_by_choice_outlives_the_process(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        path = tmp_path / "a.outbox"
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(path) as box:
                await box.append(ops.set("/n", 0))
                await box.go_offline()
                await box.append(ops.increment("/n"))
                second = agent.outbox(path)
                with pytest.raises(Conflict):
                    await second.__aenter__()
            cluster.partition(["clients"], cluster.node_ids)
            async with agent.outbox(path) as box:
                assert not box.is_online and box.state == {"n": 1} and len(box.queued) == 1
                await box.append(ops.increment("/n"))
                with pytest.raises((Unavailable, Undecided)):
                    await box.reconcile(timeout_s=1.0)
                assert [len(entry.mutations) for entry in box.queued] == [1, 1]
                cluster.heal()
                report = await box.reconcile()
                assert report.is_clean and fates(report) == [Fate.APPENDED] * 2 and report.head_seq == 3
                assert (box.is_online, (await agent.read()).state) == (True, {"n": 2})
            async with agent.outbox(path) as box:
                assert (box.last_report, box.is_online, box.queued) == (report, True, ())
            with pytest.raises(Invalid, match="not of"):
                await client.agent("b").outbox(path).__aenter__()

    await asyncio.to_thread(run, scenario)


async def offline_and_interfered(client: Client, name: str, path: Path) -> tuple[Agent, Outbox]:
    """Two entries waiting, and another writer's mutation in the log."""
    agent = client.agent(name)
    box = await agent.outbox(path / f"{name}.outbox").__aenter__()
    await box.append(ops.set("/mine", 0), ops.set("/both", 0))
    await box.go_offline()
    await box.append(ops.set("/mine", 1))
    await box.append(ops.set("/both", "mine"))
    await client.agent(name).append(ops.set("/theirs", 1), ops.set("/both", "theirs"))
    return agent, box


async def test_where_others_wrote_it_goes_on_a_branch_or_is_rebased_or_refused(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent, box = await offline_and_interfered(client, "branch", tmp_path)
            report = await box.reconcile()
            assert fates(report) == [Fate.BRANCHED] * 2 and report.branch.startswith("offline-")
            assert (await client.agent("branch", branch=report.branch).read()).state == {"mine": 1, "both": "mine"}
            assert box.state == (await agent.read()).state == {"mine": 0, "theirs": 1, "both": "theirs"}
            assert (await box.append(ops.set("/mine", 2))).seq == 3
            await box.__aexit__(None, None, None)

            agent, box = await offline_and_interfered(client, "rebase", tmp_path)
            report = await box.reconcile(on_interference="rebase")
            assert fates(report) == [Fate.REBASED, Fate.REFUSED]
            assert report.settled[1].conflicts == (MergeConflict("/both", 0, "theirs", "mine"),)
            assert box.state == (await agent.read()).state == {"mine": 1, "theirs": 1, "both": "theirs"}
            assert [entry.reason for entry in box.refused] == ["MERGE_CONFLICT"]
            await box.discard()
            assert not box.refused
            await box.__aexit__(None, None, None)

            agent, box = await offline_and_interfered(client, "settled", tmp_path)
            report = await box.reconcile(on_interference="theirs")
            assert fates(report) == [Fate.REBASED] * 2 and not report.is_clean
            assert (await agent.read()).state == {"mine": 1, "theirs": 1, "both": "mine"}
            await box.__aexit__(None, None, None)

            agent, box = await offline_and_interfered(client, "refuse", tmp_path)
            report = await box.reconcile(on_interference="refuse")
            assert fates(report) == [Fate.REFUSED] * 2 and len(box.refused) == 2
            assert (await agent.read()).seq == 2
            await box.__aexit__(None, None, None)

    await asyncio.to_thread(run, scenario)


async def test_online_others_are_found_out_at_once(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(tmp_path / "a.outbox") as box:
                await box.append(ops.set("/n", 0))
                await client.agent("a").append(ops.set("/n", 7))
                with pytest.raises(Conflict):
                    await box.append(ops.increment("/n"))
                assert box.is_online and box.state == {"n": 7} and not box.queued
                assert (await box.append(ops.increment("/n"))).seq == 3

    await asyncio.to_thread(run, scenario)


async def test_a_deleted_agent_takes_no_branch(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent, box = await offline_and_interfered(client, "gone", tmp_path)
            await agent.delete()
            report = await box.reconcile()
            assert fates(report) == [Fate.REFUSED] * 2
            assert {each.reason for each in report.settled} == {"AGENT_NOT_FOUND"}
            with pytest.raises(NotFound):
                await agent.read()
            await box.__aexit__(None, None, None)

    await asyncio.to_thread(run, scenario)


async def test_where_it_left_is_gone_and_so_takes_no_branch(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=30.0) as client:
            agent, box = await offline_and_interfered(client, "old", tmp_path)
            for _ in range(5):
                await agent.append(ops.increment("/n"))
            await client.retention.set(RetentionPolicy(max_mutations=2))
            assert [done.failure async for done in client.retention.run()] == [""]
            report = await box.reconcile()
            assert fates(report) == [Fate.REFUSED] * 2
            assert {each.reason for each in report.settled} == {"COMPACTED"}
            assert len(box.refused) == 2 and box.is_online
            assert box.state == (await agent.read()).state
            await box.__aexit__(None, None, None)

    await asyncio.to_thread(run, scenario)


@pytest.mark.parametrize("is_first", [False, True])
async def test_what_was_perhaps_decided_and_is_gone_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    """Its answer was lost; then the log forgot its key, and retention removed it."""
    monkeypatch.setattr("tallystick_node.core.limits.KEYS_REMEMBERED", 2)
    monkeypatch.setattr("tallystick_node.core.limits.KEYS_PRUNE_STEP", 1)
    send = Line.send

    async def unheard(line: Line, attempt: bytes, timeout_s: float | None) -> int:
        await send(line, attempt, timeout_s)
        raise Undecided("the answer was lost")

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=30.0) as client:
            agent = client.agent("old")
            async with agent.outbox(tmp_path / "old.outbox") as box:
                if not is_first:
                    await box.append(ops.set("/n", 0))
                await box.go_offline()
                await box.append(ops.increment("/n"))
                monkeypatch.setattr(Line, "send", unheard)
                with pytest.raises(Undecided):
                    await box.reconcile()
                monkeypatch.setattr(Line, "send", send)
                for _ in range(8):
                    await agent.append(ops.increment("/others"))
                await client.retention.set(RetentionPolicy(max_mutations=2))
                assert [done.failure async for done in client.retention.run()] == [""]
                report = await box.reconcile(on_interference="theirs")
                assert [(each.fate, each.reason) for each in report.settled] == [(Fate.REFUSED, "COMPACTED")]
                assert box.state == (await agent.read()).state == {"n": 1, "others": 8}

    await asyncio.to_thread(run, scenario)


async def test_written_back_it_is_decided_behind_the_callers_back(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(tmp_path / "a.outbox", write_back=True) as box:
                for n in range(20):
                    assert (await box.append(ops.append("/log", n))).seq is None
                await box.flush()
                assert (await agent.read()).state == box.state == {"log": list(range(20))}
                assert box.seq == 20 and not box.queued

    await asyncio.to_thread(run, scenario)


async def test_who_may_not_go_offline_is_told(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            async with agent.outbox(tmp_path / "a.outbox", auto_offline=False) as box:
                await box.append(ops.set("/n", 0))
                cluster.partition(["clients"], cluster.node_ids)
                with pytest.raises(Undecided):
                    await box.append(ops.increment("/n"))
                assert box.state == {"n": 1} and len(box.queued) == 1 and box.is_online
                cluster.heal()
                assert (await box.append(ops.increment("/n"))).seq == 3  # what was not decided came first
                assert box.state == (await agent.read()).state == {"n": 2}

    await asyncio.to_thread(run, scenario)


class Crash(BaseException):
    """The process dies here."""


class Dying:
    """Lets an outbox live for so many steps: each use of its file, and each answer of a node, is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        run_on_file, send = Outbox._run, Line.send

        async def dying_run(box: Outbox, work: Callable[[], T]) -> T:
            self.step()
            done = await run_on_file(box, work)
            self.step()
            return done

        async def dying_send(line: Line, attempt: bytes, timeout_s: float | None) -> int:
            seq = await send(line, attempt, timeout_s)
            self.step()  # decided, and nobody hears of it
            return seq

        monkeypatch.setattr(Outbox, "_run", dying_run)
        monkeypatch.setattr(Line, "send", dying_send)

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


@pytest.mark.parametrize("how", ["branch", "theirs"])
@pytest.mark.parametrize("interferes", [False, True])
async def test_wherever_the_process_dies_each_is_decided_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, *, interferes: bool
) -> None:
    """A process that dies after its k-th step, for every k, until one lives to the end."""
    dying = Dying(monkeypatch)

    async def life(client: Client, name: str) -> None:
        box = client.agent(name).outbox(tmp_path / f"{name}.outbox")
        try:
            async with box:
                await box.reconcile(on_interference="branch" if how == "branch" else "theirs")
        finally:
            box._file.close()

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            for k in range(1, 200):
                name = f"{how}-{interferes}-{k}"
                async with client.agent(name).outbox(tmp_path / f"{name}.outbox") as box:
                    await box.append(ops.set("/log", []))
                    await box.go_offline()
                    for number in range(3):
                        await box.append(ops.append("/log", number))
                if interferes:
                    await client.agent(name).append(ops.append("/log", 100))
                dying.left = k
                with contextlib.suppress(Crash):
                    await life(client, name)
                survived, dying.left = dying.left > 0, -1
                async with client.agent(name).outbox(tmp_path / f"{name}.outbox") as box:
                    assert len(box.queued) in range(4)
                    await box.reconcile(on_interference="branch" if how == "branch" else "theirs")
                    assert not box.queued and not box.refused and box.is_online
                everything = await everywhere(client, name)
                assert everything == sorted([0, 1, 2, *([100] if interferes else [])]), f"dead after step {k}"
                if survived:
                    return
            raise AssertionError("it never came to its end")

    async def everywhere(client: Client, name: str) -> list[int]:
        agent = client.agent(name)
        found: list[int] = []
        logs = {"main": 0} | {info.name: info.fork_seq async for info in agent.branches() if info.name != "main"}
        for branch, after_seq in logs.items():
            found += [
                value
                async for mutation in client.agent(name, branch=branch).log(after_seq=after_seq)
                for operation in mutation.operations
                for value in numbers_of(operation.value)
            ]
        return sorted(found)

    await asyncio.to_thread(run, scenario)


def numbers_of(value: object) -> list[int]:
    return [value] if isinstance(value, int) else []
