"""Damaged disks, and a state that is not the others': nothing wrong is served, and nodes come back equal or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tallystick import Consistency, Corrupt, NodeStatus, Unavailable, ops
from tallystick_node.cli.exits import ExitCode
from tallystick_node.storage.meta import load_meta, save_meta
from tallystick_node.storage.schema import open_sql
from tests.cluster.harness import Cluster
from tests.cluster.harness_members import CHANGE_S, promote
from tests.cluster.harness_node import NodeProcess
from tests.cluster.harness_snapshots import (
    CATCH_UP_S,
    SMALL_JOURNAL,
    copied,
    flip,
    grow,
    lose_state,
    same_as_all,
    says,
    says_again,
)
from tests.cluster.harness_wait import eventually

SECRET: Final = "tally-ho-"
"""Stands in what agent "marked" noted, and nowhere else."""


def _sentence(node: NodeProcess, before: int = 0) -> str:
    """The one that it ended with; `before`: the characters of its log before that run."""
    said = node.log_text()[before:]
    assert "Traceback" not in said, said
    (sentence,) = (line for line in said.splitlines() if line.startswith("tallystick: "))
    return sentence


async def _refuses(node: NodeProcess, code: ExitCode) -> str:
    """It does not start; the sentence that says why."""
    before = len(node.log_text())
    node.start()
    assert await node.wait_exit(CATCH_UP_S) == code, node.log_tail()
    return _sentence(node, before)


async def _replaced(cluster: Cluster, node_id: str) -> None:
    """As docs/how-to/members.md has it: removed, and added again with an empty folder."""
    async with cluster.connect(nodes=cluster.others(node_id), timeout_s=CHANGE_S) as client:
        await client.members.remove(node_id)
        await cluster.remove_node(node_id)
        await cluster.add_node(node_id)
        await client.members.add(
            node_id, client_endpoint=cluster.endpoint(node_id), peer_endpoint=cluster.peer_endpoint(node_id)
        )
        await promote(client, node_id)
    await same_as_all(cluster, node_id)


async def test_a_state_that_is_found_damaged_at_the_start_is_fetched_anew(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    async with Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster, cluster.connect() as client:
        await client.agent("marked").record("note", SECRET * 10)
        await cluster.wait_equal()
        node, folder = cluster.nodes["b"], tmp_path / "b"
        for number, needle in enumerate((b"SQLite format 3", b"CREATE TABLE meta", SECRET.encode())):
            assert await cluster.stop("b") == 0
            installed = len(says(node, "snapshot_installed"))
            flip(folder / "state.db", needle)
            await client.agent("x").append(ops.set("/n", f"meanwhile {number}"))
            await cluster.start("b")
            aside = (await says_again(node, "state_put_aside", number))["path"]
            await says_again(node, "snapshot_installed", installed)
            await same_as_all(cluster, "b")
            assert aside == str(folder / "state.db.damaged") and (folder / "state.db.damaged").exists()
        assert "Traceback" not in node.log_text()


async def test_a_damaged_state_is_made_anew_from_a_journal_that_holds_all(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        await client.agent("x").append(ops.set("/n", 1))
        assert await cluster.stop("b") == 0
        flip(tmp_path / "b" / "state.db", b"SQLite format 3")
        await cluster.start("b")
        await same_as_all(cluster, "b")
        assert says(cluster.nodes["b"], "state_put_aside") and not says(cluster.nodes["b"], "snapshot_fetching")


async def test_a_damaged_copy_that_waits_to_be_installed_is_dropped(tmp_path: Path) -> None:
    """It would be in the way of every start; the state beside it is sound."""
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        await client.agent("x").append(ops.set("/n", 1))
        assert await cluster.stop("b") == 0
        (tmp_path / "b" / "state.db.next").write_bytes(b"no copy of anything" * 100)
        await cluster.start("b")
        await same_as_all(cluster, "b")
        assert says(cluster.nodes["b"], "snapshot_dropped")
        assert not (tmp_path / "b" / "state.db.next").exists()


async def test_damage_found_by_a_read_stops_the_node_and_nothing_wrong_is_answered(
    tmp_path: Path, compacted: Path
) -> None:
    copied(compacted, tmp_path)
    async with Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster, cluster.connect() as client:
        await client.agent("marked").record("note", SECRET * 10)
        await grow(client, 16)  # more than is looked at whole at the start
        await cluster.wait_equal()
        node = cluster.nodes["b"]
        assert await cluster.stop("b") == 0
        await cluster.start("b")
        await cluster.wait_equal()
        flip(tmp_path / "b" / "state.db", SECRET.encode())
        before = len(node.log_text())
        async with cluster.connect(nodes=["b"], consistency=Consistency.LOCAL, timeout_s=3.0) as there:
            with pytest.raises((Corrupt, Unavailable)):  # the answer, or the end of the node that gives it
                [_ async for _ in there.agent("marked").log()]
        assert await node.wait_exit(CATCH_UP_S) == ExitCode.CORRUPT
        assert "state.db is damaged" in _sentence(node, before)
        await cluster.start("b")
        await says_again(node, "snapshot_installed")
        await same_as_all(cluster, "b")
        async with cluster.connect(nodes=["b"], consistency=Consistency.LOCAL) as there:
            assert [mutation.payload async for mutation in there.agent("marked").log()] == [SECRET * 10]


async def test_a_copy_of_a_damaged_state_is_not_taken_and_another_node_asked(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    async with Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster, cluster.connect() as client:
        await client.agent("marked").record("note", SECRET * 10)
        await grow(client, 16)
        await same_as_all(cluster, "c")
        node = cluster.nodes["c"]
        before = len(says(node, "snapshot_installed"))
        cluster.kill("b", "c")
        lose_state(tmp_path / "c")
        state = tmp_path / "a" / "state.db"

        async def synced() -> bool:
            return SECRET.encode() in state.read_bytes()

        await eventually(synced, within_s=CATCH_UP_S, what="the note has come from the write-ahead log to the state")
        flip(state, SECRET.encode())
        await cluster.start("c")

        async def refused_twice() -> bool:
            failed = says(node, "snapshot_failed")
            return sum(line["peer_id"] == "a" and "is damaged" in str(line["why"]) for line in failed) > 1

        await eventually(refused_twice, within_s=CATCH_UP_S, what="c has refused what a gave, and asked again")
        assert len(list((tmp_path / "c").glob("state.db.incoming-*"))) <= 1  # that of the next attempt
        await cluster.start("b")
        installed = await says_again(node, "snapshot_installed", before)
        assert installed["peer_id"] == "b"
        assert list((tmp_path / "c").glob("state.db.*")) == []


async def test_a_damaged_journal_is_refused_and_the_node_replaced(tmp_path: Path, compacted: Path) -> None:
    copied(compacted, tmp_path)
    async with Cluster(tmp_path, contexts=False, flags=SMALL_JOURNAL) as cluster, cluster.connect() as client:
        await same_as_all(cluster, "c")
        lost = cluster.others(await cluster.wait_for_leader())[0]
        assert await cluster.stop(lost) == 0
        segment = max((tmp_path / lost / "journal").iterdir())
        content = segment.read_bytes()
        segment.write_bytes(content[:100] + bytes((content[100] ^ 1,)) + content[101:])
        sentence = await _refuses(cluster.nodes[lost], ExitCode.CORRUPT)
        assert f"{segment} is damaged at byte" in sentence
        await client.agent("x").append(ops.set("/n", "two of three"))
        await _replaced(cluster, lost)


async def test_a_node_alone_keeps_its_damaged_state_and_refuses(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False, node_ids=["a"]) as cluster, cluster.connect() as client:
        await client.agent("marked").record("note", SECRET * 10)
        assert await cluster.stop("a") == 0
        state = tmp_path / "a" / "state.db"
        flip(state, SECRET.encode())
        damaged = state.read_bytes()
        sentence = await _refuses(cluster.nodes["a"], ExitCode.CORRUPT)
        assert f"{state} is damaged" in sentence
        assert state.read_bytes() == damaged and not (tmp_path / "a" / "state.db.damaged").exists()
        flip(state, bytes((SECRET.encode()[0] ^ 0x20,)) + SECRET.encode()[1:])
        await cluster.start("a")
        assert [mutation.payload async for mutation in client.agent("marked").log()] == [SECRET * 10]


def _diverge(state: Path) -> None:
    """Another history than the others', with all sums right."""
    with closing(open_sql(state, busy_timeout_s=1.0)) as sql:
        meta = load_meta(sql)
        sql.execute("BEGIN IMMEDIATE")
        save_meta(sql, meta._replace(digest=bytes(reversed(meta.digest))))
        sql.execute("COMMIT")


async def test_a_node_whose_state_is_not_the_others_is_taken_out_of_service(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(nodes=["a", "c"]) as client:
        for n in range(5):
            await client.agent("x").append(ops.set("/n", n))
        await cluster.wait_equal()
        node = cluster.nodes["b"]
        assert await cluster.stop("b") == 0
        _diverge(tmp_path / "b" / "state.db")
        before = len(node.log_text())
        node.start()
        await client.agent("x").append(ops.set("/n", "something to compare at"))
        assert await node.wait_exit(CATCH_UP_S) != 0
        assert "differs from that of a majority" in _sentence(node, before)

        async def alarmed() -> bool:
            others: list[NodeStatus] = await cluster.statuses(("a", "c"))
            return len(others) == 2 and all("DIVERGED:b" in status.alarms for status in others)

        await eventually(alarmed, within_s=CATCH_UP_S, what="the others say that b differs")
        refused = await _refuses(node, ExitCode.REFUSED)
        assert "taken out of service" in refused and "differs from that of a majority" in refused
        await client.agent("x").append(ops.set("/n", "two of three"))
        await _replaced(cluster, "b")
        assert all("DIVERGED:b" not in status.alarms for status in await cluster.statuses())
