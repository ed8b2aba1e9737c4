"""`client.members` against the real member service over a fake control: what is sent, answered and retried."""

from __future__ import annotations

import asyncio

import pytest

import tallystick
from tallystick.errors import (
    AlreadyExists,
    Invalid,
    NoLeader,
    NotFound,
    Reason,
    TallystickError,
    Unavailable,
    Undecided,
)
from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.members import Member
from tests.unit.members_kit import Says, member_nodes

D = Member("d", "d:7420", "d:7421", is_learner=True)


def _connect(endpoints: str, timeout_s: float = 10.0) -> tallystick.Client:
    return tallystick.connect(endpoints, namespace="demo", timeout_s=timeout_s)


async def _add(client: tallystick.Client) -> tuple[tallystick.MemberInfo, ...]:
    return await client.members.add("d", client_endpoint=D.client_endpoint, peer_endpoint=D.peer_endpoint)


@pytest.mark.parametrize("leader_id", ["a", "b", "c"])
async def test_members_are_listed_as_the_leader_sees_them(leader_id: str) -> None:
    async with member_nodes(leader_id=leader_id) as (control, endpoints), _connect(endpoints) as client:
        control.match["c"] = 70
        control.down.add("b")
        found = await client.members.list()
    assert [member.node_id for member in found] == ["a", "b", "c"]
    assert [member.node_id for member in found if member.is_leader] == [leader_id]
    assert [member.lag_entries for member in found] == [0, 0, 30]
    assert [member.connected for member in found] == [True, False, True]
    assert not any(member.is_learner for member in found)


async def test_without_a_leader_the_list_is_not_guessed() -> None:
    async with member_nodes(leader_id="") as (_, endpoints), _connect(endpoints, 0.5) as client:
        with pytest.raises(NoLeader):
            await client.members.list()


async def test_a_node_is_added_promoted_and_removed() -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        added = await _add(client)
        assert [(member.node_id, member.is_learner) for member in added][-1] == ("d", True)
        assert (added[-1].client_endpoint, added[-1].peer_endpoint) == (D.client_endpoint, D.peer_endpoint)
        assert [member.node_id for member in added if member.is_leader] == ["a"]
        promoted = await client.members.promote("d")
        assert [(member.node_id, member.is_learner) for member in promoted][-1] == ("d", False)
        left = await client.members.remove("b")
        assert [member.node_id for member in left] == ["a", "c", "d"]
    kinds = [kind for kind, _ in control.asked]
    assert kinds == [MemberChange.KIND_ADD, MemberChange.KIND_PROMOTE, MemberChange.KIND_REMOVE]
    assert control.asked[0][1] == D


async def test_refusals_keep_their_reasons() -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        with pytest.raises(AlreadyExists) as exists:
            await client.members.add("b", client_endpoint="b:7420", peer_endpoint="b:7421")
        with pytest.raises(NotFound) as missing:
            await client.members.remove("x")
        control.answers.append(Says(Invalid("no voter would be left", reason=Reason.INVALID_MEMBERS)))
        with pytest.raises(Invalid) as invalid:
            await client.members.remove("b")
    reasons = [caught.value.reason for caught in (exists, missing, invalid)]
    assert reasons == [Reason.MEMBER_EXISTS, Reason.MEMBER_NOT_FOUND, Reason.INVALID_MEMBERS]


@pytest.mark.parametrize(
    ("node_id", "client_endpoint", "peer_endpoint", "field"),
    [
        ("D", "d:7420", "d:7421", "node_id"),
        ("", "d:7420", "d:7421", "node_id"),
        ("d", "d", "d:7421", "client_endpoint"),
        ("d", "0.0.0.0:7420", "d:7421", "client_endpoint"),
        ("d", "d:7420", "", "peer_endpoint"),
        ("d", "d:7420", "[::]:7421", "peer_endpoint"),
    ],
)
async def test_what_nobody_can_reach_is_not_proposed(
    node_id: str, client_endpoint: str, peer_endpoint: str, field: str
) -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        with pytest.raises(Invalid) as caught:
            await client.members.add(node_id, client_endpoint=client_endpoint, peer_endpoint=peer_endpoint)
    assert caught.value.metadata["field"] == field
    assert control.asked == []


@pytest.mark.parametrize(
    "first",
    [
        Says(Unavailable("another change is pending", reason=Reason.MEMBER_CHANGE_PENDING)),
        Says(NoLeader("nobody leads")),
        Says(Undecided("who knows")),
        Says(Undecided("who knows"), applied=True),
    ],
    ids=["pending", "no leader", "undecided and not done", "undecided and done"],
)
async def test_a_change_is_retried_and_happens_once(first: Says) -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        control.answers.append(first)
        assert [member.node_id for member in await _add(client)] == ["a", "b", "c", "d"]
        control.answers.append(first)
        assert not (await client.members.promote("d"))[-1].is_learner
        control.answers.append(first)
        assert [member.node_id for member in await client.members.remove("d")] == ["a", "b", "c"]


async def test_a_refusal_is_no_success_because_an_attempt_was_undecided() -> None:
    # An attempt to add b is lost; b was a voter all the time: its new folder must not pass for the old one.
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        b = control.members.get("b")
        assert b is not None
        control.answers.append(Says(Undecided("who knows")))
        with pytest.raises(AlreadyExists):
            await client.members.add("b", client_endpoint=b.client_endpoint, peer_endpoint=b.peer_endpoint)


@pytest.mark.parametrize(
    "error",
    [Undecided("who knows"), Unavailable("it lacks entries", reason=Reason.LEARNER_BEHIND)],
    ids=["undecided", "behind"],
)
async def test_in_the_end_the_last_error_is_said(error: TallystickError) -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints, 0.6) as client:
        control.answers.extend([Says(error)] * 200)
        with pytest.raises(type(error)) as caught:
            await client.members.promote("b")
    assert caught.value.reason is error.reason
    assert "idempotency_key" not in caught.value.metadata
    assert isinstance(error, Unavailable) or "look at the members" in caught.value.message


@pytest.mark.parametrize("to", ["c", None])
async def test_leadership_is_handed_over_by_the_leader(to: str | None) -> None:
    async with (
        member_nodes(leader_id="b") as (control, endpoints),
        _connect(endpoints.split(",")[0]) as client,  # a, which does not lead, says who does
    ):
        leader = await client.members.transfer_leadership(to)
        assert leader == to or (to is None and leader in ("a", "c"))
        assert [member.node_id for member in await client.members.list() if member.is_leader] == [leader]
    assert control.handed_over_to == [to]


async def test_handing_over_to_nobody_is_refused() -> None:
    async with member_nodes() as (control, endpoints), _connect(endpoints) as client:
        control.answers.append(Says(NotFound("x is no member", reason=Reason.MEMBER_NOT_FOUND)))
        with pytest.raises(NotFound):
            await client.members.transfer_leadership("x")


async def test_the_blocking_twin() -> None:
    def use(endpoints: str) -> list[str]:
        with tallystick.sync.connect(endpoints, namespace="demo") as client:
            client.members.add("d", client_endpoint=endpoints.split(",")[3], peer_endpoint="d:7421")
            client.members.promote("d")
            client.members.transfer_leadership("d")
            client.members.remove("a")
            return [f"{member.node_id} {member.is_leader}" for member in client.members.list()]

    async with member_nodes(("a", "b", "c", "d")) as (control, endpoints):
        control.members = control.members.without("d")  # it runs, and waits to be added
        found = await asyncio.to_thread(use, endpoints)
    assert found == ["b False", "c False", "d True"]
