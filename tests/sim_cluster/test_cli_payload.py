"""`tallystick payload put | get | list | show` on nodes under virtual time: what goes in comes out."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import cast

import click
import pytest

from tallystick import Client, NotFound, PayloadRef, ops
from tallystick.errors import Invalid
from tallystick.testing import SimCluster
from tallystick_node.cli.connection import ACTOR, Connection
from tallystick_node.cli.payload import get_one, list_all, put_one, show_one

CONTENT = random.Random(7).randbytes(400_000)


class Simulated:
    """A `Connection` to a simulated cluster."""

    as_json = True

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def open(self, *, actor: str = ACTOR) -> Client:
        return self._cluster.connect(actor=actor)


class Bytes:
    """A standard stream of bytes."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def test_what_goes_in_comes_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> dict[str, object]:
        made: dict[str, object] = json.loads(capsys.readouterr().out)
        return made

    async def scenario(cluster: SimCluster) -> None:
        connection = cast("Connection", Simulated(cluster))
        await put_one(connection, tmp_path / "in")
        ref = PayloadRef.of(told())
        assert ref.size_bytes == len(CONTENT)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", Bytes(CONTENT))
            await put_one(connection, Path("-"))
        assert told() == ref
        async with cluster.connect() as client:
            await client.agent("a").append(ops.set("/it", ref))
        await get_one(connection, ref.id, tmp_path / "out")
        assert told() == {"payload": ref.id, "file": str(tmp_path / "out"), "size_bytes": len(CONTENT)}
        assert (tmp_path / "out").read_bytes() == CONTENT
        with monkeypatch.context() as patch:
            out = Bytes()
            patch.setattr(sys, "stdout", out)
            await get_one(connection, ref.id, Path("-"))
        assert out.buffer.getvalue() == CONTENT
        await show_one(connection, json.dumps(ref.to_json()))
        shown = told()
        with pytest.raises(click.BadParameter, match="not JSON"):
            await show_one(connection, "{")
        assert (shown["references"], shown["actor"]) == (1, "cli")
        await list_all(connection)
        assert told() == shown
        connection_of_people = Simulated(cluster)
        connection_of_people.as_json = False
        await list_all(cast("Connection", connection_of_people))
        said = capsys.readouterr().out
        assert "390.6 KiB" in said and "\n1 payload, " in said
        with pytest.raises(NotFound):
            await show_one(connection, "0" * 64)
        with pytest.raises(Invalid):
            await get_one(connection, "report", tmp_path / "no")

    (tmp_path / "in").write_bytes(CONTENT)
    with SimCluster(nodes=1, seed=1) as cluster:
        cluster.run(scenario)
