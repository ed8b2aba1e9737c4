"""Two agents on two sides of a partition: a board goes on merging, and never both hold a task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import grpc
import pytest

from tallystick import Client, Conflict, Consistency, Reason, StaleOwner, Unavailable, Undecided
from tallystick._outside import Machine
from tallystick.contexts.context import Context
from tallystick.testing import LocalCluster
from tallystick.testing.local_wait import eventually

NOBODY = "127.0.0.1:1"
CUT_OFF_S = 1.0


class Side(Machine):
    """A machine that reaches some nodes alone, and whose clocks can be put forward."""

    def __init__(self, reached: Collection[str], ahead_s: list[float]) -> None:
        super().__init__()
        self._reached = frozenset(reached)
        self._ahead_s = ahead_s

    def clock(self) -> float:
        return super().clock() + self._ahead_s[0]

    def unix_ms(self) -> int:
        return super().unix_ms() + int(self._ahead_s[0] * 1000)

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        return super().open_channel(address if address in self._reached else NOBODY, credentials, options)


def _client(cluster: LocalCluster, actor: str, nodes: Sequence[str], ahead_s: list[float]) -> Client:
    endpoints = [cluster.endpoint(node_id) for node_id in nodes]
    return Client(
        endpoints,
        namespace="demo",
        tls=None,
        consistency=Consistency.LINEARIZABLE,
        timeout_s=20.0,
        actor=actor,
        outside=Side(endpoints, ahead_s),
    )


async def test_on_two_sides_of_a_partition_never_both_hold_a_task(tmp_path: Path) -> None:
    ahead_s = [0.0]
    async with LocalCluster(folder=tmp_path / "nodes") as cluster:
        leader = await cluster.wait_for_leader()
        others = cluster.others(leader)
        async with (
            _client(cluster, "ann", [leader], ahead_s) as anns,
            _client(cluster, "bob", others, ahead_s) as bobs,
            anns.context("plan") as ann,
            bobs.context("plan") as bob,
        ):
            here, there = ann.board("tasks"), bob.board("tasks")
            here.add("t1", title="one")
            anns_claim = await here.claim("t1", ttl_s=20)
            assert await _refused(bob, "t1") == "ann"

            await cluster.partition([leader], others)
            here.set("t1", note="by ann")
            there.add("t2", title="two")
            for step in (anns_claim.renew(timeout_s=CUT_OFF_S), here.claim("t2", timeout_s=CUT_OFF_S)):
                with pytest.raises((Unavailable, Undecided)):
                    await step
            with pytest.raises(Unavailable):
                await ann.flush(timeout_s=CUT_OFF_S)
            assert anns_claim.remaining_s > 0
            assert await _refused(bob, "t1") == "ann"
            bobs_claims = [await there.claim("t2", ttl_s=100)]
            ahead_s[0] += 60  # the time of ann's claim passes for both
            assert not anns_claim.is_held
            bobs_claims.append(await there.claim("t1"))
            assert bobs_claims[1].epoch > anns_claim.epoch

            await cluster.heal()
            with pytest.raises(StaleOwner):
                await anns_claim.renew()
            for task in ("t1", "t2"):
                assert await _refused(ann, task) == "bob"
            assert all(claim.is_held for claim in bobs_claims)
            assert {claim.actor for claim in (await here.claims()).values()} == {"bob"}

            async def are_equal() -> bool:
                return ann.to_json() == bob.to_json() and "t2" in here and "note" in there.get("t1", {})

            await eventually(are_equal, within_s=20, what="both replicas equal")


async def _refused(context: Context, task: str) -> str:
    """Who has it instead."""
    with pytest.raises(Conflict) as refused:
        await context.board("tasks").claim(task)
    assert refused.value.reason is Reason.TASK_CLAIMED
    return refused.value.metadata["actor"]
