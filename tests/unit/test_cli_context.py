"""`tallystick context` against a node by script: what it shows of what others stored, and how it ends."""

# ruff: noqa: N802 - methods are named as in the .proto

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import click
import grpc
import pytest
from click.testing import CliRunner

from tallystick import JSON
from tallystick.v1 import common_pb2, context_pb2, context_pb2_grpc
from tallystick_node.cli import main
from tallystick_node.cli.context.arguments import parse_at

EVIL: Final = "\x1b[31mred\u202e"
WAIT_S: Final = 30.0

_Any: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class Node(context_pb2_grpc.ContextServiceServicer):
    """Answers as its attributes say."""

    def __init__(self) -> None:
        self.node_id = "a"
        self.equal = False
        self.errors: dict[str, str] = {}
        self.verified = context_pb2.VerifyContextsRequest()
        self.histories = 0

    def _header(self) -> common_pb2.ResponseHeader:
        return common_pb2.ResponseHeader(node_id=self.node_id, revision=common_pb2.Revision(group=1, position=1))

    async def DescribeContext(
        self, request: context_pb2.DescribeContextRequest, _context: _Any
    ) -> context_pb2.DescribeContextResponse:
        info = context_pb2.ContextInfo(context=request.context, guid=b"g" * 16, epoch=1, actor=EVIL)
        return context_pb2.DescribeContextResponse(header=self._header(), info=info)

    async def Blame(self, request: context_pb2.BlameRequest, _context: _Any) -> context_pb2.BlameResponse:
        line = context_pb2.BlameLine(path=f"/{request.root}/{EVIL}", value=json.dumps(EVIL).encode(), edit=_edit(1))
        return context_pb2.BlameResponse(header=self._header(), lines=[line])

    async def ListOverlaps(
        self, request: context_pb2.ListOverlapsRequest, _context: _Any
    ) -> context_pb2.ListOverlapsResponse:
        found = [
            context_pb2.Overlap(
                number=number,
                path="/tasks/t1",
                kind="key",
                first=_edit(1, "ann"),
                second=_edit(number, "bob"),
                first_value=b"1",
                second_value=b"2",
            )
            for number in (2, 3)
            if number > request.after_number
        ]
        return context_pb2.ListOverlapsResponse(header=self._header(), overlaps=found)

    async def History(self, request: context_pb2.HistoryRequest, _context: _Any) -> context_pb2.HistoryResponse:
        self.histories += 1
        if self.histories > 1:
            self.node_id = "b"
        return context_pb2.HistoryResponse(header=self._header(), edits=[_edit(request.after_number + 1)])

    async def VerifyContexts(
        self, request: context_pb2.VerifyContextsRequest, _context: _Any
    ) -> context_pb2.VerifyContextsResponse:
        self.verified = request
        nodes = [
            context_pb2.NodeDigest(node_id=name, digest=name.encode(), documents=1, error=self.errors.get(name, ""))
            for name in ("a", "b")
        ]
        differs = [] if self.equal or self.errors else [context_pb2.ContextRef(namespace="demo", name=EVIL)]
        return context_pb2.VerifyContextsResponse(
            header=self._header(), nodes=nodes, equal=self.equal, different=differs
        )


def _edit(number: int, actor: str = EVIL) -> context_pb2.Edit:
    return context_pb2.Edit(
        number=number, writer=2**32, end_clock=3, deletes=1, actor=actor, cause=EVIL, node_id="a", flags=[f"/t: {EVIL}"]
    )


def _node() -> Node:
    return Node()  # type: ignore[abstract]  # the rest is not asked for


class Shell:
    """Runs commands against the node, in this process."""

    def __init__(self, endpoint: str) -> None:
        self._runner = CliRunner(env={"TALLYSTICK_ENDPOINTS": endpoint, "TALLYSTICK_NAMESPACE": "demo"})

    async def run(self, *args: str, code: int = 0) -> tuple[str, str]:
        """What it writes to stdout and stderr; it has to end so."""
        result = await asyncio.wait_for(asyncio.to_thread(self._runner.invoke, main, ["context", *args]), WAIT_S)
        assert result.exit_code == code, result.output
        assert not any(c in result.output for c in EVIL if not c.isprintable()), "steers the terminal"
        return result.stdout, result.stderr

    async def lines(self, *args: str) -> list[dict[str, JSON]]:
        """JSON Lines."""
        return [json.loads(line) for line in (await self.run(*args, "--json"))[0].splitlines()]


@asynccontextmanager
async def shell_of(node: Node) -> AsyncIterator[Shell]:
    server = grpc.aio.server()
    context_pb2_grpc.add_ContextServiceServicer_to_server(node, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Shell(f"127.0.0.1:{port}")
    finally:
        await server.stop(None)


async def test_who_wrote_what_is_shown_and_steers_no_terminal() -> None:
    async with shell_of(_node()) as shell:
        (line,) = await shell.lines("blame", "plan", "tasks")
        assert (line["path"], line["value"]) == (f"/tasks/{EVIL}", EVIL)
        edit = line["edit"]
        assert isinstance(edit, dict)
        assert (edit["actor"], edit["cause"], edit["flags"]) == (EVIL, EVIL, [f"/t: {EVIL}"])
        shown, _ = await shell.run("blame", "plan")
        assert "red" in shown


async def test_overlaps_are_shown_up_to_the_limit() -> None:
    async with shell_of(_node()) as shell:
        first, second = await shell.lines("overlaps", "plan")
        assert (first["number"], first["path"], first["kind"], first["second_value"]) == (2, "/tasks/t1", "key", 2)
        assert await shell.lines("overlaps", "plan", "--after", "2") == [second]
        shown, told = await shell.run("overlaps", "plan", "--limit", "1")
        assert "ann: 1" in shown
        assert len(shown.splitlines()) == 2
        assert "there are more" in told


async def test_verify_ends_by_what_it_found() -> None:
    node = _node()
    async with shell_of(node) as shell:
        _, told = await shell.run("verify", code=1)
        assert "not equal: demo/" in told
        assert (node.verified.namespace, node.verified.name, node.verified.deep) == ("demo", "", False)
        shown, _ = await shell.run("verify", "plan", "--deep", "--json", code=1)
        assert json.loads(shown)["different"] == [{"namespace": "demo", "context": EVIL}]
        assert (node.verified.name, node.verified.deep) == ("plan", True)

        node.errors = {"b": "down"}
        shown, told = await shell.run("verify", "--all", code=3)
        assert "down" in shown
        assert "b did not answer" in told
        assert node.verified.namespace == ""

        node.errors, node.equal = {}, True
        shown, _ = await shell.run("verify")
        assert shown.splitlines()[-1] == "equal"


async def test_a_log_that_is_followed_ends_when_another_node_answers() -> None:
    async with shell_of(_node()) as shell:
        shown, told = await shell.run("log", "plan", "--follow", "--after", "4", code=3)
        assert [line.split()[0] for line in shown.splitlines()] == ["5"]
        assert "a does not answer any more" in told


async def test_a_node_that_cannot_say_what_it_holds() -> None:
    async with shell_of(_node()) as shell:
        shown, _ = await shell.run("describe", "plan")
        assert "cannot say" in shown
        described, _ = await shell.run("describe", "plan", "--json")
        assert json.loads(described)["cursor"] is None


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("17", 17),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("v1", "v1"),
        ("version:17", "17"),
    ],
)
def test_a_point_in_the_past(text: str, point: object) -> None:
    assert parse_at(text) == point


@pytest.mark.parametrize("text", ["0", "", "version:"])
def test_what_is_no_point_in_the_past(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_at(text)


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["show"],
        ["show", "plan", "--at", "0"],
        ["restore", "plan"],
        ["save", "plan", "v1", "--agent", "ann"],
        ["verify", "plan", "--all"],
        ["log", "plan", "--limit", "0"],
        ["create", "plan", "--schema", "/no/such/file"],
    ],
)
def test_usage_errors_end_with_2(args: list[str]) -> None:
    result = CliRunner().invoke(main, ["context", *args])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_schema_that_is_none_ends_with_2(tmp_path: Path, text: str) -> None:
    file = tmp_path / "schema.json"
    file.write_text(text)
    result = CliRunner().invoke(main, ["context", "create", "plan", "--schema", str(file)])
    assert result.exit_code == 2
    assert "schema.json" in result.stderr


def test_completion_completes() -> None:
    environment = {"_TALLYSTICK_COMPLETE": "bash_complete", "COMP_WORDS": "tallystick context ", "COMP_CWORD": "2"}
    result = CliRunner().invoke(main, [], env=environment, prog_name="tallystick")
    commands = "list create describe delete show set blame who log overlaps versions save restore verify compact"
    assert {f"plain,{name}" for name in commands.split()} <= set(result.stdout.split())
