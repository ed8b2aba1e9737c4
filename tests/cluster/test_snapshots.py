"""Nodes whose log alone does not help: away for too long, new, or killed while they take a copy of the state."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from contextlib import aclosing
from pathlib import Path
from typing import Final

import pytest

from tallystick import Compacted, Consistency, MutationEvent, Revision, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_disk import fill, free, small_disk
from tests.cluster.harness_load import progress, writing
from tests.cluster.harness_members import CHANGE_S, add, promote
from tests.cluster.harness_node import NodeProcess
from tests.cluster.harness_snapshots import (
    CATCH_UP_S,
    LAST,
    SEEN,
    SMALL_JOURNAL,
    at_once,
    copied,
    grow,
    lose_state,
    same_as_all,
    says,
    says_again,
)
from tests.cluster.harness_wait import eventually

PATIENT: Final = ("--election-timeout-min-s=2", "--election-timeout-max-s=4")
"""A busy machine shall change no leader; a held-up event loop would."""
SIZE_BYTES: Final = 18_000_000
"""Of the state after `grow(client, 12)`, or somewhat more."""


async def _wait_for(cluster: Cluster, node_id: str, watchers: int) -> None:
    async def look() -> bool:
        status = await cluster.status(node_id)
        return status is not None and status.watchers == watchers

    await eventually(look, within_s=CATCH_UP_S, what=f"{watchers} watches at {node_id}")


async def test_a_node_that_was_away_takes_a_copy_and_is_one_of_them_again(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    cluster = Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL, proxied=True)
    cluster.isolate("c")
    seen: list[MutationEvent] = []

    async def watch() -> None:
        async with (
            cluster.connect(nodes=["c"]) as there,
            aclosing(there.watch(agent="x", after=Revision(1, 0))) as events,
        ):
            async for event in events:
                assert isinstance(event, MutationEvent)
                seen.append(event)

    async with cluster, cluster.connect() as client, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        await _wait_for(cluster, "c", watchers=1)
        assert not says(cluster.nodes["c"], "snapshot_fetching")
        cluster.heal()
        await says_again(cluster.nodes["c"], "snapshot_installed")
        await same_as_all(cluster, "c")
        after = await client.agent("x").append(ops.set("/n", "after"))

        async def all_seen() -> bool:
            return bool(seen) and seen[-1].mutation.seq == after.seq

        await eventually(all_seen, within_s=CATCH_UP_S, what="the watch has come to the end")
        watching.cancel()
        assert [event.mutation.seq for event in seen] == list(range(1, after.seq + 1))
        assert after.seq == LAST + 2

        gone = await cluster.wait_for_leader()
        gone = gone if gone != "c" else "a"
        cluster.kill(gone)  # of the two that are left, one is c
        await client.agent("x").append(ops.set("/n", "with c"))
        assert (await client.agent("x").read()).state == {"n": "with c"}


async def test_a_watch_that_a_copy_leaves_far_behind_is_told_so(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    cluster = Cluster(tmp_path, contexts=False, flags=[*SMALL_JOURNAL, "--watch-history-events=200"], proxied=True)
    cluster.isolate("c")
    async with cluster, cluster.connect(nodes=["c"]) as there:
        async with aclosing(there.watch(agent="x", after=Revision(1, 0))) as events:
            for n in range(SEEN + 1):
                assert (await anext(events)).revision.position == n + 1
            cluster.heal()
            with pytest.raises(Compacted) as refused:
                await anext(events)
        oldest = Revision(1, int(refused.value.metadata["oldest"]))
        async with aclosing(there.watch(agent="x", after=oldest)) as events:
            assert (await anext(events)).revision.position == oldest.position + 1


async def test_a_new_node_begins_with_a_copy(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    async with (
        Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster,
        cluster.connect(timeout_s=CHANGE_S) as client,
    ):
        await add(cluster, client, "d")
        await says_again(cluster.nodes["d"], "snapshot_installed")
        await promote(client, "d")
        await same_as_all(cluster, "d")
        cluster.kill("a")
        await client.agent("x").append(ops.set("/n", "with d"))  # three of four: d is needed
        await cluster.start("a")
        await same_as_all(cluster, "d")


MOMENTS: Final = ("incoming", "half", "next", "installed", "soon")
"""When a node is killed: a file is there, has grown, is whole; the copy is in place; or some time after the start."""


class Moments:
    """Sees how far a node is that fetches a copy of so many bytes."""

    def __init__(self, node: NodeProcess, size_bytes: int) -> None:
        self._node = node
        self._folder = node.plan.data_folder
        self._half_bytes = size_bytes // 2
        self._installed = self._count()
        self._soon_s = time.monotonic() + random.uniform(0.2, 1.2)

    def is_now(self, moment: str) -> bool:
        match moment:
            case "next":
                return (self._folder / "state.db.next").exists() or self.is_over()
            case "installed":
                return self.is_over()
            case "soon":
                return time.monotonic() > self._soon_s
        sizes = self._incoming_sizes()
        return self.is_over() or (bool(sizes) and (moment == "incoming" or max(sizes) >= self._half_bytes))

    def is_over(self) -> bool:
        return self._count() > self._installed

    def _count(self) -> int:
        return self._node.log_text().count('"snapshot_installed"')

    def _incoming_sizes(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):  # renamed between two looks
            return [path.stat().st_size for path in self._folder.glob("state.db.incoming-*")]
        return []


async def _kill_at(cluster: Cluster, victim: str, moments: Moments, moment: str) -> None:
    assert await at_once(lambda: moments.is_now(moment), lambda: cluster.kill(victim), within_s=CATCH_UP_S)


@pytest.mark.long
async def test_a_receiver_killed_at_any_moment_starts_again_and_becomes_equal(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    rounds = [*MOMENTS] * 3
    async with (
        Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster,
        cluster.connect(nodes=["a", "b"]) as client,
    ):
        await grow(client, 12)
        await cluster.wait_equal()
        node, folder = cluster.nodes["c"], cluster.nodes["c"].plan.data_folder
        interrupted = 0
        cluster.kill("c")
        for number, moment in enumerate(rounds):
            if (folder / "state.db").exists() and not (folder / "state.db.next").exists():
                lose_state(folder)
            moments = Moments(node, SIZE_BYTES)
            node.start()
            await client.agent("rounds").append(ops.append("/numbers", number))
            await _kill_at(cluster, "c", moments, moment)
            interrupted += not moments.is_over()
        await cluster.start("c")
        await same_as_all(cluster, "c")
        assert (await client.agent("rounds").read()).state == {"numbers": list(range(len(rounds)))}
        assert interrupted >= len(rounds) // 3
        assert node.exit_code is None
        assert [path.name for path in folder.glob("state.db.*")] == []


async def test_a_sender_killed_meanwhile_starts_again_and_another_gives_the_copy(
    tmp_path: Path, compacted: Path
) -> None:
    copied(compacted, tmp_path)
    async with (
        Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster,
        cluster.connect(nodes=["a", "b"]) as client,
    ):
        await grow(client, 12)
        await cluster.wait_equal()
        for moment in ("incoming", "half"):
            cluster.kill("c")
            lose_state(cluster.nodes["c"].plan.data_folder)
            sender = await cluster.wait_for_leader(among=("a", "b"))
            moments = Moments(cluster.nodes["c"], SIZE_BYTES)
            cluster.nodes["c"].start()
            await _kill_at(cluster, sender, moments, moment)
            await cluster.start(sender)
            await says_again(cluster.nodes[sender], "node_started")
            await same_as_all(cluster, "c")
            left = [path.name for node_id in "abc" for path in (tmp_path / node_id).glob("state.db.*")]
            assert left == []


async def test_appends_go_on_while_a_large_copy_is_made_and_taken(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    flags = [*SMALL_JOURNAL, *PATIENT]
    cluster = Cluster(tmp_path, contexts=False, flags=flags, proxied=True)
    cluster.isolate("c")
    async with cluster, cluster.connect(nodes=["a", "b"]) as client:
        await grow(client, 44)  # some 50 MB of state
        leader = await cluster.wait_for_leader()
        before = await cluster.status(leader)
        async with writing([client, client, client]) as writers:
            await progress(writers)
            cluster.heal()
            installed = await says_again(cluster.nodes["c"], "snapshot_installed")
            await progress(writers)
        after = await cluster.status(leader)
        assert before is not None and after is not None
        assert (after.leader_id, after.term) == (leader, before.term)
        assert isinstance(installed["size_bytes"], int) and installed["size_bytes"] > 45_000_000
        assert not any(writer.undecided or writer.unavailable for writer in writers)
        await same_as_all(cluster, "c")
        async with cluster.connect(nodes=["c"]) as there:
            for writer in writers:
                await writer.check(there, Consistency.LOCAL)


@pytest.mark.root
async def test_a_receiver_without_room_waits_for_it(tmp_path: Path, compacted: Path) -> None:
    flags = [*SMALL_JOURNAL, "--disk-reserve-bytes=0"]
    with small_disk(tmp_path / "disk-c", 64 << 20) as disk:
        copied(compacted, tmp_path, {"c": disk})
        fill(disk, 4 << 20)
        async with (
            Cluster(tmp_path, contexts=False, flags=flags, data_folders={"c": disk}) as cluster,
            cluster.connect() as client,
        ):
            node = cluster.nodes["c"]
            failed = await says_again(node, "snapshot_failed")
            assert "there is room for" in str(failed["why"])
            await client.agent("x").append(ops.set("/n", "full"))
            free(disk)
            await same_as_all(cluster, "c")

            cluster.kill("c")
            lose_state(disk)
            moments = Moments(node, SIZE_BYTES)
            before = len(says(node, "snapshot_failed"))
            node.start()
            assert await at_once(lambda: moments.is_now("incoming"), lambda: cluster.pause("c"), within_s=CATCH_UP_S)
            fill(disk)
            cluster.resume("c")
            if not moments.is_over():
                await says_again(node, "snapshot_failed", before)
                await client.agent("x").append(ops.set("/n", "full again"))
                assert len(list(disk.glob("state.db.incoming-*"))) <= 1  # that of the next attempt
            free(disk)
            await same_as_all(cluster, "c")
            assert "Traceback" not in node.log_text()
