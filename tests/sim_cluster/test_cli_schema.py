"""`tallystick schema ...` on nodes under virtual time, and what it takes by the name of Python code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import click
import pytest

from tallystick import Client, ops
from tallystick.schemas import Compatibility, SchemaKnowledge
from tallystick.testing import SimCluster
from tallystick_node.cli import named
from tallystick_node.cli.connection import ACTOR, Connection
from tallystick_node.cli.schema import check_one, list_all, migrate_all, register_one, show_one
from tests.sim_cluster.schema_kit import BY_NUMBER, FIRST, PLANS, SECOND, begin, run

MODULE = """
from tallystick.schemas import Known, unchanged, upcaster

@upcaster("state of planner-", from_version=1)
def one(state):
    return state

two = unchanged("state of planner-", from_version=2)
both = [one, two]
other = Known("event note", 1)
neither = [one, "two"]
nothing = 3

class Plan:
    pass
"""


class Simulated:
    """A `Connection` to a simulated cluster."""

    def __init__(self, cluster: SimCluster, *, as_json: bool, schemas: Iterable[SchemaKnowledge] = ()) -> None:
        self._cluster = cluster
        self._schemas = schemas
        self.as_json = as_json

    def open(self, *, actor: str = ACTOR) -> Client:
        return self._cluster.connect(actor=actor, schemas=self._schemas)


def connection(cluster: SimCluster, *, as_json: bool = True, schemas: Iterable[SchemaKnowledge] = ()) -> Connection:
    return cast("Connection", Simulated(cluster, as_json=as_json, schemas=schemas))


def test_schemas_are_registered_listed_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        told = connection(cluster)
        await register_one(told, PLANS, FIRST, Compatibility.BACKWARD, 0)
        await register_one(told, PLANS, FIRST, Compatibility.BACKWARD, 1)
        first, again = map(json.loads, _documents(capsys))
        assert (first["version"], first["replayed"], first["actor"]) == (1, False, "cli")
        assert (again["version"], again["replayed"]) == (1, True)

        assert not await check_one(told, PLANS, SECOND, Compatibility.BACKWARD, has_value=True, value={"tasks": []})
        found = json.loads(capsys.readouterr().out)
        assert found["version"] == 2
        assert {"schema", "value"} == {problem["of"] for problem in found["problems"]}
        assert await check_one(told, PLANS, SECOND, Compatibility.NONE, has_value=False, value=None)
        assert await check_one(told, PLANS, None, Compatibility.NONE, has_value=True, value={"tasks": []})
        capsys.readouterr()

        await register_one(told, PLANS, SECOND, Compatibility.NONE, 2)
        capsys.readouterr()
        await list_all(told, None)
        listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(each["subject"], each["version"], each["document"]) for each in listed] == [
            (PLANS, 1, None),
            (PLANS, 2, None),
        ]
        await show_one(told, PLANS, 1)
        assert json.loads(capsys.readouterr().out)["document"] == FIRST

        people = connection(cluster, as_json=False)
        await list_all(people, PLANS)
        await show_one(people, PLANS, 0)
        await check_one(people, PLANS, FIRST, Compatibility.BACKWARD, has_value=False, value=None)
        await check_one(people, PLANS, SECOND, Compatibility.BACKWARD, has_value=False, value=None)
        text = capsys.readouterr().out
        assert "additionalProperties" in text
        assert "it is version 2" in text
        assert "/properties/tasks" in text

    run(scenario)


def test_a_migration_tells_what_it_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await begin(client, "planner-1", "planner-2")
            told, people = (connection(cluster, as_json=as_json, schemas=[BY_NUMBER]) for as_json in (True, False))
            async with client.agent("planner-2").lease():
                assert not await migrate_all(told, "planner-", None, with_branches=False)
                report = json.loads(capsys.readouterr().out)
                assert (report["migrated"], report["skipped"], report["failed"]) == (1, 0, 1)
                (failure,) = report["failures"]
                assert (failure["agent"], failure["branch"], failure["reason"]) == ("planner-2", "main", "STALE_OWNER")
                assert not await migrate_all(people, "planner-", 2, with_branches=False)
                assert "planner-2" in capsys.readouterr().out
            assert await migrate_all(people, "planner-", 2, with_branches=True)
            assert capsys.readouterr().out == "1 migrated, 1 there before, 0 failed\n"
            await client.agent("planner-1").append(ops.set("/n", 1))

    run(scenario)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "handed_in.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def (")
    return "handed_in"


def test_upcasters_are_found_by_name(module: str) -> None:
    assert len(named.knowledge(module)) == 3
    assert len(named.knowledge(f"{module}:one")) == 1
    assert len(named.knowledge(f"{module}:both")) == 2
    assert len(named.knowledge(f"{module}:other")) == 1
    for wrong in (f"{module}:nothing", f"{module}:missing", f"{module}:neither", "no_such_module", "json", "broken"):
        with pytest.raises(click.BadParameter):
            named.knowledge(wrong)


def test_a_model_is_found_by_name(module: str) -> None:
    assert getattr(named.model(f"{module}:Plan"), "__name__", "") == "Plan"
    for wrong in (module, f"{module}:missing"):
        with pytest.raises(click.BadParameter):
            named.model(wrong)


def _documents(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Several indented JSON documents, one after another."""
    return [text + "}" for text in capsys.readouterr().out.split("\n}") if text.strip()]
