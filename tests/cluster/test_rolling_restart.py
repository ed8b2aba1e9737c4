"""All nodes are restarted one by one while clients work: no request fails, and nobody waits for an election."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

from tests.cluster.harness import Cluster
from tests.cluster.harness_load import Writer, progress, writing
from tests.cluster.harness_wait import eventually

SETTLED_S: Final = 60.0


async def test_no_request_fails_while_all_nodes_are_restarted(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(cluster.connect(timeout_s=SETTLED_S)) for _ in range(4)]
        await cluster.wait_equal(within_s=SETTLED_S)  # all of them have started
        async with writing(clients) as writers:
            await progress(writers)
            for node_id in cluster.node_ids:
                await _restart(cluster, node_id, writers)
        assert not any(writer.undecided or writer.unavailable for writer in writers)
        await cluster.wait_equal()
        for writer in writers:
            await writer.check(clients[0])


async def test_a_leader_that_stops_hands_over_first(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(timeout_s=SETTLED_S) as client:
        async with writing([client]) as writers:
            await progress(writers)
            for _ in range(2):
                leader = await cluster.wait_for_leader(within_s=SETTLED_S)
                before = await cluster.status(leader)
                assert await cluster.stop(leader) == 0
                following = await cluster.wait_for_leader(among=cluster.others(leader), within_s=SETTLED_S)
                after = await cluster.status(following)
                assert before is not None and after is not None and after.term == before.term + 1
                assert "handed_over" in _events(cluster, leader)
                await progress(writers)
                await cluster.start(leader)
        assert not any(writer.undecided or writer.unavailable for writer in writers)


async def _restart(cluster: Cluster, node_id: str, writers: list[Writer]) -> None:
    assert await cluster.stop(node_id) == 0
    await progress(writers, within_s=SETTLED_S)
    await cluster.start(node_id)

    async def has_caught_up() -> bool:
        answers = await cluster.statuses()
        mine = [answer.applied_index for answer in answers if answer.node_id == node_id]
        return bool(mine) and len(answers) == 3 and mine[0] >= max(answer.commit_index for answer in answers) - 50

    await eventually(has_caught_up, within_s=SETTLED_S, what=f"{node_id} has caught up")
    await progress(writers, within_s=SETTLED_S)


def _events(cluster: Cluster, node_id: str) -> list[str]:
    lines = cluster.nodes[node_id].log_text().splitlines()
    return [str(json.loads(line).get("event")) for line in lines if line.startswith("{")]
