"""`tallystick member`, as real processes against nodes with fake members: what it prints, refuses, and ends with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from tallystick.errors import AlreadyExists, Reason, Unavailable, Undecided
from tallystick_node.cli import main
from tallystick_node.consensus.members import Member
from tests.unit.members_kit import FakeControl, Says, member_nodes
from tests.unit.test_cli_commands import Ended, run

ADD: tuple[str, ...] = ("member", "add", "d", "--client", "d:7420", "--peer", "d:7421")


def ids(ended: Ended) -> list[str]:
    listed = ended.json()
    assert isinstance(listed, list)
    return [str(one["node_id"]) for one in listed if isinstance(one, dict)]


async def test_members_for_people_and_for_programs() -> None:
    async with member_nodes() as (control, endpoints):
        control.members = control.members.having(Member("l", "l:7420", "l:7421", is_learner=True))
        control.match["l"] = 58
        control.down.add("c")
        people, programs = await asyncio.gather(
            run("member", "list", endpoint=endpoints), run("member", "list", "--json", endpoint=endpoints)
        )
    assert people.code == programs.code == 0
    head, a, _b, c, learner = (line.split() for line in people.out.splitlines())
    assert head == ["node", "role", "votes", "clients", "peers", "lag", "connected"]
    assert (a[:3], a[5:]) == (["a", "leader", "voter"], ["0", "yes"])
    assert c[-1] == "no"
    assert learner == ["l", "follower", "learner", "l:7420", "l:7421", "42", "yes"]
    listed = programs.json()
    assert isinstance(listed, list)
    assert listed[3] == {
        "node_id": "l",
        "client_endpoint": "l:7420",
        "peer_endpoint": "l:7421",
        "is_learner": True,
        "is_leader": False,
        "connected": True,
        "lag_entries": 42,
    }


async def test_a_node_is_added_promoted_and_removed() -> None:
    async with member_nodes() as (_control, endpoints):
        added = await run(*ADD, endpoint=endpoints)
        assert added.code == 0 and "learner" in added.out and "tallystick member promote d" in added.err
        again = await run(*ADD, endpoint=endpoints)
        assert again.code == 1 and "MEMBER_EXISTS" in again.err
        promoted = await run("member", "promote", "d", "--json", endpoint=endpoints)
        assert promoted.code == 0 and ids(promoted) == ["a", "b", "c", "d"]
        removed = await run("member", "remove", "b", "--json", endpoint=endpoints)
        assert removed.code == 0 and ids(removed) == ["a", "c", "d"]
        few = await run("member", "remove", "c", endpoint=endpoints)
        assert few.code == 0 and "2 voters left" in few.err
        unknown = await run("member", "remove", "x", endpoint=endpoints)
        assert unknown.code == 1 and "MEMBER_NOT_FOUND" in unknown.err


@pytest.mark.parametrize("learner", [False, True], ids=["a voter in the end", "a learner in the end"])
async def test_adding_waits_until_the_node_has_caught_up(learner: bool) -> None:
    async with member_nodes() as (control, endpoints):
        control.catching_up["d"] = [0, 0, 30, 36, 37]
        args = (*ADD, "--wait", "--json", *(["--learner"] if learner else []))
        control_answers(control, learner=learner)
        ended = await run(*args, endpoint=endpoints)
        d = control.members.get("d")
    assert ended.code == 0, ended.err
    assert "d: lag 100\n" in ended.err and "d: lag 70\n" in ended.err
    assert ended.err.count("d: lag 100\n") == 1, "said twice"
    assert d is not None and d.is_learner is learner
    assert ids(ended) == ["a", "b", "c", "d"]


def control_answers(control: FakeControl, *, learner: bool) -> None:
    """The leader still finds it behind when it is promoted for the first time."""
    if not learner:
        control.after_add.append(Says(Unavailable("it lacks entries", reason=Reason.LEARNER_BEHIND)))


async def test_a_node_that_does_not_come_stays_a_learner() -> None:
    async with member_nodes() as (control, endpoints):
        control.down.add("d")
        ended = await run(*ADD, "--wait", "--within", "1", endpoint=endpoints)
        d = control.members.get("d")
    assert ended.code == 3
    assert "not connected" in ended.err and "it is a learner" in ended.err
    assert d is not None and d.is_learner


@pytest.mark.parametrize("yes", [False, True])
async def test_a_majority_is_not_given_away_unasked(yes: bool) -> None:
    async with member_nodes() as (control, endpoints):
        control.down.add("c")
        ended = await run("member", "remove", "b", *(["--yes"] if yes else []), endpoint=endpoints)
        is_left = control.members.get("b") is not None
    assert ended.code == (0 if yes else 1)
    assert is_left is not yes
    assert yes or ("--yes" in ended.err and "1 of them connected" in ended.err)


async def test_whoever_is_down_can_be_removed() -> None:
    async with member_nodes() as (control, endpoints):
        control.down.add("c")
        ended = await run("member", "remove", "c", endpoint=endpoints)
    assert ended.code == 0
    assert "c" not in control.members.node_ids


async def test_leadership_goes_where_it_is_sent() -> None:
    async with member_nodes() as (control, endpoints):
        people = await run("member", "lead", "b", endpoint=endpoints)
        programs = await run("member", "lead", "--json", endpoint=endpoints)
    assert (people.code, people.out) == (0, "b leads\n")
    assert programs.json() == {"leader_id": control.leader_id}
    assert control.handed_over_to == ["b", None]


async def test_each_failure_has_its_exit_code() -> None:
    async with member_nodes() as (control, endpoints):
        for error, code in (
            (AlreadyExists("d is a member", reason=Reason.MEMBER_EXISTS), 1),
            (Unavailable("another change", reason=Reason.MEMBER_CHANGE_PENDING), 3),
            (Undecided("who knows"), 4),
        ):
            control.answers.extend([Says(error)] * 100)
            ended = await run(*ADD, "--timeout", "0.5", endpoint=endpoints)
            assert ended.code == code, ended.err
            control.answers.clear()
        assert ended.out == "" and "look at the members" in ended.err
    nobody = await run("member", "list", "--timeout", "0.5", endpoint="127.0.0.1:1")
    assert nobody.code == 3


@pytest.mark.parametrize(
    "args",
    [
        ["member", "add", "d"],
        ["member", "add", "d", "--client", "d:7420"],
        ["member", "add", "--client", "d:7420", "--peer", "d:7421"],
        ["member", "add", "d", "--client", "d:7420", "--peer", "d:7421", "--within", "0"],
        ["member", "remove"],
        ["member", "promote"],
        ["member", "lead", "b", "c"],
        ["member", "nonsense"],
    ],
)
def test_usage_errors_end_with_2(args: Sequence[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert result.stdout == ""


def _completed(words: str, place: int) -> set[str]:
    environment = {"_TALLYSTICK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    result = CliRunner().invoke(main, [], env={**os.environ, **environment}, prog_name="tallystick")
    return set(result.stdout.split())


async def test_the_shell_completes_commands_and_node_ids() -> None:
    assert {f"plain,{name}" for name in ("list", "add", "promote", "remove", "lead")} <= _completed(
        "tallystick member ", 2
    )
    async with member_nodes(("a", "bb", "bc")) as (_, endpoints):
        words = f"tallystick member remove --endpoints {endpoints} b"
        assert await asyncio.to_thread(_completed, words, 5) == {"plain,bb", "plain,bc"}
    nobody = "tallystick member promote --endpoints 127.0.0.1:1 "
    assert await asyncio.to_thread(_completed, nobody, 5) == set()
