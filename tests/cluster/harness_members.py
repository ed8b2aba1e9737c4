"""What tests of changing members do again and again, on real nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tallystick import Client, MemberInfo
from tests.cluster.harness import Cluster
from tests.cluster.harness_wait import eventually

CHANGE_S: Final = 60.0
"""Within which a change of the members is done, catching up included: the machine may be busy."""


async def add(cluster: Cluster, client: Client, node_id: str) -> tuple[MemberInfo, ...]:
    """Starts a further node and makes it a learner."""
    await cluster.add_node(node_id)
    return await client.members.add(
        node_id,
        client_endpoint=cluster.endpoint(node_id),
        peer_endpoint=cluster.peer_endpoint(node_id),
        timeout_s=CHANGE_S,
    )


async def caught_up(client: Client, node_id: str) -> MemberInfo:
    """The member, once it has all that is decided."""

    async def look() -> MemberInfo | None:
        found = {member.node_id: member for member in await client.members.list(timeout_s=CHANGE_S)}
        return found[node_id] if found[node_id].connected and found[node_id].lag_entries == 0 else None

    return await eventually(look, within_s=CHANGE_S, what=f"{node_id} has caught up")


async def promote(client: Client, node_id: str) -> tuple[MemberInfo, ...]:
    """Makes a learner a voter, as soon as the leader finds that it has caught up."""
    return await client.members.promote(node_id, timeout_s=CHANGE_S)


async def known_everywhere(cluster: Cluster, node_ids: Collection[str], *, learners: Collection[str] = ()) -> None:
    """Waits until each of these nodes names just them as members, and just these learners."""

    async def look() -> bool:
        answers = await cluster.statuses(node_ids)
        expected = {(node_id, node_id in learners) for node_id in node_ids}
        return len(answers) == len(node_ids) and all(
            {(member.node_id, member.is_learner) for member in answer.members} == expected for answer in answers
        )

    await eventually(look, within_s=CHANGE_S, what=f"all know the members {', '.join(node_ids)}")
