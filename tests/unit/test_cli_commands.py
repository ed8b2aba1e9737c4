"""`tallystick status` and `tallystick agent`, as real processes against fake nodes: what they print, how they end."""

# ruff: noqa: N802 - methods are named as in the .proto

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

import tallystick
from tallystick import JSON, EndpointStatus, Reason, Role, ops
from tallystick._status import node_status
from tallystick.errors import error_for
from tallystick.v1 import cluster_pb2, state_pb2
from tallystick_node.cli import main
from tallystick_node.cli.status import view
from tests.unit.client_kit import DEADLINE_S, History, Node, abort

if TYPE_CHECKING:
    from tallystick.v1.cluster_pb2_grpc import _ServicerContext as _StatusContext
    from tallystick.v1.state_pb2_grpc import _ServicerContext

EVIL = "\x1b[31mred\x9b2J\u202e"


class ShownNode(Node):
    """A node with states by seq and by checkpoint, and a status with something in it."""

    states: Mapping[int, JSON] = {1: {"a": 1, "keep": [1, 2]}, 2: {"a": 2, "new": EVIL, "keep": [1, 2]}}
    checkpoints: Mapping[str, int] = {"begin": 1, "2": 1}
    role = cluster_pb2.ROLE_LEADER

    async def Read(self, request: state_pb2.ReadRequest, context: _ServicerContext) -> state_pb2.ReadResponse:
        self.requests.append(request)
        seq = request.seq if request.HasField("seq") else 2
        if request.HasField("checkpoint"):
            seq = self.checkpoints.get(request.checkpoint, 0)
        if seq not in self.states or request.agent.agent != "ann":
            await abort(context, Reason.AGENT_NOT_FOUND)
        return state_pb2.ReadResponse(
            header=self.header(), seq=seq, state=orjson.dumps(self.states[seq]), hash=b"\xab", time_unix_ms=1000
        )

    async def Status(self, request: cluster_pb2.StatusRequest, context: _StatusContext) -> cluster_pb2.StatusResponse:
        return cluster_pb2.StatusResponse(
            header=self.header(),
            node_id=self.name,
            role=self.role,
            term=3,
            commit_index=9,
            applied_index=7,
            journal_bytes=1536,
            state_digest=b"\x01\x02",
            alarms=["DISK_FULL"],
            members=[
                cluster_pb2.Member(node_id=self.name, client_endpoint=self.endpoint, connected=True),
                cluster_pb2.Member(node_id="gone", client_endpoint="127.0.0.1:1"),
            ],
        )


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> JSON:
        value: JSON = json.loads(self.out)
        return value

    def lines(self) -> list[dict[str, JSON]]:
        return [json.loads(line) for line in self.out.splitlines()]


@asynccontextmanager
async def shown_node(kind: type[ShownNode] = ShownNode) -> AsyncIterator[Node]:
    node = kind(History(), "n1")
    await node.start()
    try:
        async with tallystick.connect(node.endpoint, namespace="default", actor="tester") as client:
            agent = client.agent("ann")
            await agent.append(ops.set("/a", 1), cause=f"tool:{EVIL}")
            await agent.record("note", {"text": EVIL})
        yield node
    finally:
        await node.stop()


async def start(*args: str, endpoint: str = "") -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tallystick_node.cli", *args,
        env={**environment, "TALLYSTICK_ENDPOINTS": endpoint},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run(*args: str, endpoint: str = "") -> Ended:
    process = await start(*args, endpoint=endpoint)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode is not None
    ended = Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    assert not any(c in ended.out + ended.err for c in EVIL if not c.isprintable()), "steers the terminal"
    return ended


async def test_status_for_people_and_for_programs() -> None:
    async with shown_node() as node:
        people, programs = await asyncio.gather(
            run("status", endpoint=node.endpoint), run("status", "--json", "--endpoint", node.endpoint)
        )
    assert people.code == programs.code == 0
    assert all(word in people.out for word in ("n1", "leader", "1.5 KiB", "DISK_FULL", "gone", "unreachable"))
    assert "n1: DISK_FULL. Free space" in people.out
    answer = programs.json()
    assert isinstance(answer, list)
    up, down = sorted(answer, key=lambda one: isinstance(one, dict) and one["status"] is None)
    assert isinstance(up, dict) and isinstance(down, dict)
    assert up["error"] is None
    status = up["status"]
    assert isinstance(status, dict)
    assert {"node_id": "n1", "role": "leader", "term": 3, "state_digest": "0102"}.items() <= status.items()
    assert down["endpoint"] == "127.0.0.1:1"
    assert isinstance(down["error"], dict)
    assert set(down["error"]) == {"reason", "message"}


async def test_status_tells_learners_from_voters_and_shows_every_alarm() -> None:
    leader = status_of("a", Role.LEADER, learners=("c",))
    found = [leader, status_of("b", Role.FOLLOWER), status_of("c", Role.FOLLOWER, alarms=("DIVERGED:b", "NEW"))]
    out = io.StringIO()
    Console(file=out, width=200).print(view([EndpointStatus(f"{one.node_id}:1", one) for one in found]))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[2] for line in lines[1:4]] == ["leader", "follower", "learner"]
    assert lines[4][:6] == ["c:", "DIVERGED:", "the", "state", "of", "b"]
    assert lines[5] == ["c:", "NEW"]


def test_status_shows_documents_and_what_wants_a_look() -> None:
    held = tallystick.ContextsStatus(is_up=True, documents=7, loaded=2, subscribers=1, worker_restarts=0, set_aside=0)
    kinds = [None, held, dataclasses.replace(held, set_aside=3), dataclasses.replace(held, is_up=False)]
    found = [dataclasses.replace(status_of("a", Role.LEADER), contexts=kind) for kind in kinds]
    out = io.StringIO()
    Console(file=out, width=250).print(view([EndpointStatus("a:1", one) for one in found]))
    lines = out.getvalue().splitlines()
    at = lines[0].index("contexts")
    assert [line[at : at + 14].strip() for line in lines[1:5]] == ["-", "7", "7, 3 set aside", "down"]


def status_of(
    node_id: str, role: Role, *, learners: tuple[str, ...] = (), alarms: tuple[str, ...] = ()
) -> tallystick.NodeStatus:
    members = [cluster_pb2.Member(node_id=name, is_learner=name in learners) for name in "abc"]
    shown = node_status(cluster_pb2.StatusResponse(node_id=node_id, alarms=alarms, members=members))
    return dataclasses.replace(shown, role=role)


async def test_status_without_a_leader_ends_with_3() -> None:
    async with shown_node() as node:
        assert isinstance(node, ShownNode)
        node.role = cluster_pb2.ROLE_CANDIDATE
        ended = await run("status", "--json", endpoint=node.endpoint)
    assert ended.code == 3
    assert "no leader" in ended.err
    assert ended.json()


async def test_status_watch_asks_again_until_ctrl_c() -> None:
    async with shown_node() as node:
        process = await start("status", "--watch", "--json", "--interval", "0.1", endpoint=node.endpoint)
        assert process.stdout is not None
        lines = [await asyncio.wait_for(process.stdout.readline(), DEADLINE_S) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert all(json.loads(line)[0]["endpoint"] for line in lines)
    assert process.returncode == 130
    assert b"Traceback" not in err


async def test_agents_are_listed() -> None:
    async with shown_node() as node:
        people, programs = await asyncio.gather(
            run("agent", "list", endpoint=node.endpoint), run("agent", "list", "--json", endpoint=node.endpoint)
        )
    assert "ann" in people.out
    (line,) = programs.lines()
    told = {"agent", "seq", "hash", "time", "checkpoint", "revision", "log_size_bytes", "first_seq", "lease"}
    told |= {"state_version"}
    assert set(line) == told
    assert (line["agent"], line["seq"]) == ("ann", 2)


async def test_a_log_shows_the_newest_first_things_last() -> None:
    async with shown_node() as node:
        people, newest, after = await asyncio.gather(
            run("agent", "log", "ann", endpoint=node.endpoint),
            run("agent", "log", "ann", "--json", "--limit", "1", endpoint=node.endpoint),
            run("agent", "log", "ann", "--json", "--after", "0", "--limit", "1", endpoint=node.endpoint),
        )
    assert [line.split()[0] for line in people.out.splitlines()] == ["1", "2"]
    assert "set /a 1" in people.out
    assert "note" in people.out
    (second,) = newest.lines()
    assert (second["type"], second["seq"], second["kind"], second["actor"]) == ("mutation", 2, "note", "tester")
    assert second["payload"] == {"text": EVIL}
    (first,) = after.lines()
    assert first["operations"] == [{"kind": "set", "path": "/a", "value": 1}]


async def test_follow_goes_on_without_gap_or_repeat() -> None:
    async with shown_node() as node:
        process = await start("agent", "log", "ann", "--follow", "--json", "--limit", "1", endpoint=node.endpoint)
        assert process.stdout is not None
        seqs = [json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))["seq"]]
        async with tallystick.connect(node.endpoint, namespace="default") as client:
            for _ in range(3):
                await client.agent("ann").append(ops.set("/a", 3))
        lines = [await asyncio.wait_for(process.stdout.readline(), DEADLINE_S) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert [*seqs, *(json.loads(line)["seq"] for line in lines)] == [2, 3, 4, 5]
    assert process.returncode == 130


async def test_a_state_is_shown_at_head_and_elsewhere() -> None:
    async with shown_node() as node:
        people, at_seq, at_checkpoint = await asyncio.gather(
            run("agent", "show", "ann", endpoint=node.endpoint),
            run("agent", "show", "ann", "--json", "--at-seq", "1", endpoint=node.endpoint),
            run("agent", "show", "ann", "--json", "--at-checkpoint", "begin", endpoint=node.endpoint),
        )
    assert '"new"' in people.out
    assert "seq 2" in people.out
    shown = at_seq.json()
    assert isinstance(shown, dict)
    assert set(shown) == {"agent", "branch", "seq", "hash", "time", "revision", "checkpoint", "state", "state_version"}
    assert shown["state"] == {"a": 1, "keep": [1, 2]}
    assert shown["time"] == "1970-01-01T00:00:01.000Z"
    assert at_checkpoint.json() == shown


async def test_a_difference_of_two_points() -> None:
    async with shown_node() as node:
        people, programs, named = await asyncio.gather(
            run("agent", "diff", "ann", "1", endpoint=node.endpoint),
            run("agent", "diff", "ann", "begin", "2", "--json", endpoint=node.endpoint),
            run("agent", "diff", "ann", "checkpoint:2", "begin", "--json", endpoint=node.endpoint),
        )
    assert people.out.splitlines()[0] == "~ /a  1 -> 2"
    assert people.out.splitlines()[1].startswith("+ /new")
    assert programs.json() == [
        {"op": "replace", "path": "/a", "before": 1, "value": 2},
        {"op": "add", "path": "/new", "value": EVIL},
    ]
    assert named.json() == []


class RevertibleNode(ShownNode):
    """A node whose head is the last of its states."""

    states: Mapping[int, JSON] = {0: {}, 1: {"a": 1}, 2: {"a": 2, "b": 1}, 3: {"a": 2, "b": EVIL}}

    async def Read(self, request: state_pb2.ReadRequest, context: _ServicerContext) -> state_pb2.ReadResponse:
        if not request.HasField("seq"):
            request.seq = max(self.states)
        return await super().Read(request, context)


async def test_taking_back_is_appended_and_a_conflict_changes_nothing() -> None:
    async with shown_node(RevertibleNode) as node:
        before = len(node.history.of("ann"))
        people = await run("agent", "revert", "ann", "2", endpoint=node.endpoint)
        programs = await run("agent", "revert", "ann", "2", "--json", endpoint=node.endpoint)
        assert len(node.history.of("ann")) == before
        settled = await run("agent", "revert", "ann", "2", "--resolve", "theirs", "--json", endpoint=node.endpoint)
        done = node.history.of("ann")[-1].mutation
        nothing = await run("agent", "redo", "ann", endpoint=node.endpoint)
    assert people.code == programs.code == nothing.code == 1
    assert "! /b" in people.out and "--resolve ours" in people.err and "nothing to redo" in nothing.err
    assert programs.json() == {
        "seq": None,
        "changes": [{"op": "replace", "path": "/a", "before": 2, "value": 1}],
        "conflicts": [{"path": "/b", "is_piece": False, "base": 1, "ours": EVIL}],
    }
    record = settled.json()
    assert settled.code == 0 and isinstance(record, dict) and record["seq"] == before + 1
    assert (done.reverts, done.cause, len(done.operations)) == (2, "revert:2", 2)


async def test_what_is_not_there_ends_with_1_and_advice() -> None:
    async with shown_node() as node:
        ended = await run("agent", "show", "bob", endpoint=node.endpoint)
    assert ended.code == 1
    assert "AGENT_NOT_FOUND" in ended.err
    assert "tallystick agent list" in ended.err


async def test_checkpoints_are_listed_and_a_wrong_name_says_where() -> None:
    async with shown_node() as node:
        async with tallystick.connect(node.endpoint, namespace="default", actor="tester") as client:
            for name in ("begin", "mid", "end"):
                await client.agent("ann").checkpoint(name, metadata={"note": EVIL})
        people, programs, first = await asyncio.gather(
            run("agent", "checkpoints", "ann", endpoint=node.endpoint),
            run("agent", "checkpoints", "ann", "--json", endpoint=node.endpoint),
            run("agent", "checkpoints", "ann", "--json", "--limit", "1", endpoint=node.endpoint),
        )
    assert [line["name"] for line in programs.lines()] == ["begin", "mid", "end"]
    assert [line["name"] for line in first.lines()] == ["begin"]
    assert all(name in people.out for name in ("begin", "mid", "end", "note"))
    assert "tallystick agent checkpoints" in error_for("CHECKPOINT_NOT_FOUND", "none").advice


@pytest.mark.parametrize("command", [["agent", "list"], ["status"], ["verify", "cluster"]])
async def test_nobody_there_ends_with_3_and_says_how_to_begin(command: list[str]) -> None:
    ended = await run(*command, "--json", "--timeout", "0.5", endpoint="127.0.0.1:1")
    assert ended.code == 3
    assert "tallystick dev" in ended.err
    assert ended.out == "" or command == ["status"]


def test_what_commands_do_is_said_whole_where_they_are_listed() -> None:
    context = click.Context(main)
    named = {name: main.get_command(context, name) for name in main.list_commands(context)}
    groups = [name for name, command in named.items() if isinstance(command, click.Group)]
    assert "agent" in groups
    for words in ([], *([name] for name in groups)):
        shown = CliRunner().invoke(main, [*words, "--help"], terminal_width=80).stdout
        _, _, listed = shown.partition("Commands:")
        assert listed and "..." not in listed, shown


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["agent", "nonsense"],
        ["agent", "show"],
        ["agent", "show", "ann", "--at-seq", "1", "--at-time", "2026-01-01"],
        ["agent", "show", "ann", "--at-time", "yesterday"],
        ["agent", "log", "ann", "--limit", "0"],
        ["agent", "list", "--consistency", "wishful"],
        ["agent", "list", "--tls-cert", __file__],
        ["agent", "list", "--tls-ca", "/no/such/file"],
        ["agent", "list", "--timeout", "0"],
        ["dev", "--nodes", "0"],
        ["completion", "tcsh"],
    ],
)
def test_usage_errors_end_with_2(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_command(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_TALLYSTICK_COMPLETE" in result.stdout


def test_completion_completes() -> None:
    environment = {"_TALLYSTICK_COMPLETE": "bash_complete", "COMP_WORDS": "tallystick agent ", "COMP_CWORD": "2"}
    result = CliRunner().invoke(main, [], env=environment, prog_name="tallystick")
    assert {"plain,list", "plain,log", "plain,show", "plain,diff"} <= set(result.stdout.split())


def test_the_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert tallystick.__version__ in result.stdout


def test_a_branch_is_not_deleted_unasked() -> None:
    result = CliRunner().invoke(main, ["agent", "delete-branch", "ann", "try"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes" in result.stderr
