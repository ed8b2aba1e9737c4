"""`tallystick retention show | set | plan | run` and `agent pin | unpin` on nodes under virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from tallystick import Client, Compacted, RetentionPolicy, ops
from tallystick.testing import SimCluster
from tallystick_node.cli import main
from tallystick_node.cli.agent import show_log
from tallystick_node.cli.amounts import duration
from tallystick_node.cli.checkpoints import set_pin
from tallystick_node.cli.connection import Connection
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.retention import run_now, set_policy, show_plan, show_policy
from tallystick_node.config.values import ArchiveSetting


class Simulated:
    """A `Connection` to a simulated cluster."""

    def __init__(self, cluster: SimCluster, *, as_json: bool) -> None:
        self._cluster = cluster
        self.as_json = as_json

    def open(self) -> Client:
        return self._cluster.connect()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_policy_is_set_planned_and_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, as_json: bool) -> None:
    async def scenario(cluster: SimCluster) -> None:
        connection = cast("Connection", Simulated(cluster, as_json=as_json))

        def told() -> str:
            return capsys.readouterr().out

        async with cluster.connect() as client:
            for _ in range(12):
                await client.agent("ann").append(ops.increment("/n"))
            await client.agent("ann").checkpoint("kept")
            await client.agent("ann").fork("try", at=3)
        await show_policy(connection)
        assert '"max_mutations": 0' in (said := told()) or "all is kept" in said
        await set_policy(connection, RetentionPolicy(86400, 5, 1 << 20, "cold"))
        said = told()
        if as_json:
            assert json.loads(said)["revision"].startswith("1.")
        else:
            assert "no older than 1d, the newest 5 mutations, at most 1.0 MiB; what goes is archived in cold" in said
        await set_pin(connection, "ann", "kept", "main", is_pinned=True)
        said = told()
        assert json.loads(said)["revision"].startswith("1.") if as_json else "kept of ann: pinned" in said
        await show_plan(connection, "", None)
        said = told()
        if as_json:
            assert json.loads(said)["held"] == [{"hold": "branch", "seq": 4, "detail": "try"}]
        else:
            assert "branch try at 4" in said and "3 mutations would go" in said
        await show_plan(connection, "nobody", RetentionPolicy(max_mutations=1))
        assert told() == ("" if as_json else "0 mutations would go, 0 B\n")
        await run_now(connection, "")
        said = told()
        if as_json:
            assert json.loads(said)["mutations"] == 3 and str(tmp_path) in json.loads(said)["archived_to"]
        else:
            assert "ann: 3 mutations went" in said and "it begins at 4" in said
        await set_policy(connection, RetentionPolicy(max_mutations=1, archive="other"))
        async with cluster.connect() as client:
            await client.agent("bob").append(ops.set("/n", 1))
            await client.agent("bob").append(ops.set("/n", 2))
        with pytest.raises(Failure) as failed:
            await run_now(connection, "bob")
        assert failed.value.code is ExitCode.UNAVAILABLE and "no archive 'other'" in told()
        await set_pin(connection, "ann", "kept", "main", is_pinned=False)

    with SimCluster(nodes=1, seed=1, archives=(ArchiveSetting("cold", tmp_path),)) as cluster:
        cluster.run(scenario)


def test_a_log_that_is_shorter_than_what_is_shown_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        connection = cast("Connection", Simulated(cluster, as_json=True))
        async with cluster.connect() as client:
            for _ in range(12):
                await client.agent("ann").append(ops.increment("/n"))
            await client.retention.set(RetentionPolicy(max_mutations=3))
            assert [done.failure async for done in client.retention.run()] == [""]
        await show_log(connection, "ann", "main", None, 6, follow=False)
        assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [10, 11, 12]
        with pytest.raises(Compacted):
            await show_log(connection, "ann", "main", 6, 6, follow=False)

    with SimCluster(nodes=1, seed=1) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--archive", "cold"],
        ["--keep-all", "--max-age", "1d"],
        ["--keep-all", "--archive", "cold"],
        ["--max-age", "1"],
        ["--max-age", "0d"],
        ["--max-age", "1y"],
        ["--max-size", "1MB"],
        ["--max-size", "0"],
        ["--max-size", "99999999TiB"],
        ["--max-mutations", "0"],
    ],
)
def test_a_policy_that_says_nothing_or_nonsense_is_a_usage_error(args: list[str]) -> None:
    result = CliRunner().invoke(main, ["retention", "set", *args])
    assert result.exit_code == ExitCode.USAGE and result.stderr


def test_a_plan_with_an_archive_alone_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["retention", "plan", "--archive", "cold"])
    assert result.exit_code == ExitCode.USAGE and "--max-age" in result.stderr


def test_a_duration_is_shown_as_it_is_written() -> None:
    assert [duration(seconds) for seconds in (1, 60, 90, 3600, 86400, 30 * 86400, 7 * 86400)] == [
        "1s", "1m", "90s", "1h", "1d", "30d", "1w",
    ]  # fmt: skip
