"""Members that come and go while the cluster works: nothing acknowledged is lost, and nobody is disturbed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import pytest

from tallystick import AlreadyExists, Consistency, Invalid, NotFound, Reason, Unavailable, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_load import progress, writing
from tests.cluster.harness_members import CHANGE_S, add, caught_up, known_everywhere, promote
from tests.cluster.harness_wait import eventually

PATIENT: Final = ("--election-timeout-min-s=8", "--election-timeout-max-s=12")
"""A leader that is cut off believes in itself for long enough to be asked."""


async def test_a_learner_catches_up_counts_for_nothing_and_becomes_a_voter(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        async with writing([client, client]) as writers:
            await progress(writers)
            added = await add(cluster, client, "d")
            assert [member.node_id for member in added if member.is_learner] == ["d"]
            await caught_up_under_load(cluster)
            await known_everywhere(cluster, "abcd", learners="d")

            leader = await cluster.wait_for_leader()
            followers = [node_id for node_id in "abc" if node_id != leader]
            cluster.pause(followers[0])
            await progress(writers)  # two of three voters: the learner is not asked
            cluster.resume(followers[0])

            assert not any(member.is_learner for member in await promote(client, "d"))
            await known_everywhere(cluster, "abcd")
            cluster.kill(followers[0])
            await progress(writers)  # three of four voters, d among them
            await cluster.start(followers[0])
        assert not any(writer.undecided for writer in writers)
        await cluster.wait_equal()
        async with cluster.connect(nodes=["d"]) as reader:
            for writer in writers:
                await writer.check(reader, Consistency.LOCAL)


async def caught_up_under_load(cluster: Cluster) -> None:
    """The learner applies what is decided after it came."""
    leader = await cluster.wait_for_leader()
    head = await cluster.status(leader)
    assert head is not None

    async def look() -> bool:
        status = await cluster.status("d")
        return status is not None and status.applied_index >= head.commit_index

    await eventually(look, within_s=CHANGE_S, what="the learner has what was decided before")


async def test_a_lost_node_is_replaced_by_an_empty_one_of_its_name(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        async with writing([client]) as writers:
            await progress(writers)
            lost = cluster.others(await cluster.wait_for_leader())[0]
            cluster.kill(lost)
            left = await client.members.remove(lost)
            assert lost not in [member.node_id for member in left]
            await cluster.remove_node(lost)
            await add(cluster, client, lost)
            await promote(client, lost)
            await progress(writers)
        await known_everywhere(cluster, cluster.node_ids)
        await cluster.wait_equal()
        other = cluster.others(lost)[0]
        cluster.kill(other)  # two of three: the new one is needed, and has all
        await cluster.wait_for_leader()
        async with cluster.connect(nodes=[lost], timeout_s=CHANGE_S) as reader:
            await writers[0].check(reader)


async def test_a_node_that_was_not_removed_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client:
        with pytest.raises(AlreadyExists) as caught:
            await client.members.add(
                "b", client_endpoint=cluster.endpoint("b"), peer_endpoint=cluster.peer_endpoint("b")
            )
        assert caught.value.reason is Reason.MEMBER_EXISTS
        with pytest.raises(NotFound):
            await client.members.promote("x")
        with pytest.raises(NotFound):
            await client.members.remove("x")


async def test_the_last_voter_stays(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False, node_ids=["a"]) as cluster, cluster.connect() as client:
        with pytest.raises(Invalid) as caught:
            await client.members.remove("a")
        assert caught.value.reason is Reason.INVALID_MEMBERS
        await client.agent("x").append(ops.set("/n", 1))


async def test_a_removed_node_that_still_runs_does_not_disturb(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        async with writing([client]) as writers:
            await progress(writers)
            leader = await cluster.wait_for_leader()
            before = await cluster.status(leader)
            removed = cluster.others(leader)[0]
            await client.members.remove(removed)

            async def says_so() -> bool:
                node = cluster.nodes[removed]
                return not node.is_running and "is no member of cluster" in node.log_text()

            await eventually(says_so, within_s=CHANGE_S, what="the removed node stops, and says that it was removed")
            await progress(writers, acks=200, within_s=CHANGE_S)  # several election timeouts
            after = await cluster.status(leader)
        assert before is not None and after is not None
        assert (after.leader_id, after.term) == (leader, before.term)
        assert {member.node_id for member in after.members} == set(cluster.others(removed))
        assert not any(writer.undecided for writer in writers)
        await cluster.wait_equal(among=cluster.others(removed))


async def test_the_leader_is_removed_after_it_handed_over(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        async with writing([client, client]) as writers:
            await progress(writers)
            leader = await cluster.wait_for_leader()
            left = await client.members.remove(leader)
            assert leader not in [member.node_id for member in left]
            await progress(writers)
            rest = cluster.others(leader)
            assert await cluster.wait_for_leader(among=rest) in rest
        assert not any(writer.undecided for writer in writers)
        await known_everywhere(cluster, rest)
        await cluster.wait_equal(among=rest)
        for writer in writers:
            await writer.check(client)


async def test_of_two_changes_at_once_one_waits(tmp_path: Path) -> None:
    async with (
        Cluster(tmp_path, contexts=False, proxied=True, flags=PATIENT) as cluster,
        cluster.connect(timeout_s=CHANGE_S) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        leader = await cluster.wait_for_leader()
        await client.agent("x").append(ops.set("/n", 1))
        for node_id in ("d", "e"):
            await cluster.add_node(node_id)
        cluster.isolate(leader)
        asker = await stack.enter_async_context(cluster.connect(nodes=[leader], timeout_s=CHANGE_S))
        first = asyncio.create_task(
            asker.members.add("d", client_endpoint=cluster.endpoint("d"), peer_endpoint=cluster.peer_endpoint("d"))
        )

        async def is_begun() -> bool:
            status = await cluster.status(leader)
            return status is not None and "d" in [member.node_id for member in status.members]

        await eventually(is_begun, within_s=CHANGE_S, what="the first change is in the leader's log")
        with pytest.raises(Unavailable) as caught:
            await asker.members.add(
                "e",
                client_endpoint=cluster.endpoint("e"),
                peer_endpoint=cluster.peer_endpoint("e"),
                timeout_s=1.0,
            )
        assert caught.value.reason is Reason.MEMBER_CHANGE_PENDING
        cluster.heal()
        assert "d" in [member.node_id for member in await first]
        await known_everywhere(cluster, "abcd", learners="d")


async def test_leadership_is_handed_over(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        async with writing([client, client]) as writers:
            await progress(writers)
            for _ in range(3):
                leader = await cluster.wait_for_leader()
                before = await cluster.status(leader)
                to = cluster.others(leader)[0]
                assert await client.members.transfer_leadership(to) == to
                assert await cluster.wait_for_leader() == to
                after = await cluster.status(to)
                assert before is not None and after is not None and after.term == before.term + 1
                await progress(writers)
            with pytest.raises(NotFound) as nobody:
                await client.members.transfer_leadership("zz")
            assert nobody.value.reason is Reason.MEMBER_NOT_FOUND
            assert await client.members.transfer_leadership() in cluster.others(to)
        assert not any(writer.undecided or writer.unavailable for writer in writers)
        for writer in writers:
            await writer.check(client)


@pytest.mark.long
async def test_three_become_five_and_five_become_three_under_load(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(cluster.connect(timeout_s=CHANGE_S)) for _ in range(3)]
        operator = await stack.enter_async_context(cluster.connect(timeout_s=CHANGE_S))
        async with writing(clients) as writers:
            for node_id in ("d", "e"):
                await add(cluster, operator, node_id)
                await promote(operator, node_id)
                await progress(writers)
            await known_everywhere(cluster, "abcde")
            cluster.kill(*cluster.others(await cluster.wait_for_leader())[:2])  # three of five go on
            await progress(writers, within_s=CHANGE_S)
            await cluster.start(*(node.node_id for node in cluster.nodes.values() if not node.is_running))
            for node_id in ("a", "b"):
                await operator.members.remove(node_id)
                await progress(writers)
            for node_id in ("a", "b"):
                await cluster.remove_node(node_id)
            await progress(writers)
        assert not any(writer.undecided for writer in writers)
        await known_everywhere(cluster, "cde")
        await cluster.wait_equal()
        for node_id in "cde":
            reader = await stack.enter_async_context(cluster.connect(nodes=[node_id]))
            for writer in writers:
                await writer.check(reader, Consistency.LOCAL)


async def test_a_learner_is_removed_and_the_cluster_starts_anew(tmp_path: Path) -> None:
    # Who is of the cluster is in the log: after a restart of all nodes it is as it was, whatever their settings say.
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=CHANGE_S) as client:
        await client.agent("x").append(ops.set("/n", 1))
        for node_id in ("d", "e"):
            await add(cluster, client, node_id)
            await caught_up(client, node_id)
        await promote(client, "d")
        await client.members.remove("e")
        await cluster.remove_node("e")
        await known_everywhere(cluster, "abcd")
        cluster.kill(*cluster.node_ids)
        await cluster.start(*cluster.node_ids)
        await known_everywhere(cluster, "abcd")
        await cluster.wait_for_leader()
        assert (await client.agent("x").read()).state == {"n": 1}
        await cluster.wait_equal()
