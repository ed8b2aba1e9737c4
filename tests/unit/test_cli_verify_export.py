"""`tallystick verify export` of archives: each file by itself, and that consecutive ones link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tallystick_node.cli import main
from tallystick_node.cli.exits import ExitCode
from tallystick_node.core.chain import hash_mutation
from tallystick_node.core.commands import Target
from tallystick_node.core.values import canonical_json
from tallystick_node.retention.archive_file import ArchivePart
from tests.unit.archive_kit import ANN, Log, written

LOG = Log(30)


def verify(files: Sequence[Path], *options: str) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["verify", "export", *map(str, files), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_one_archive_is_checked_by_itself(tmp_path: Path) -> None:
    files = written(tmp_path, LOG.part(10, 20))
    assert "10 mutations after 10, 3 checkpoints" in verify(files).output
    told = json.loads(verify(files, "--json").stdout)
    assert (told["after_seq"], told["mutations"], told["states_checked"]) == (10, 10, 3)


@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 10), (10, 20), (20, 30)],
        [(10, 20), (20, 30)],
        [(0, 10), (0, 15), (15, 20)],
        [(0, 20), (10, 30)],
        [(0, 30), (5, 10), (29, 30)],
    ],
)
def test_consecutive_ones_link_in_any_order_and_may_overlap(tmp_path: Path, cuts: list[tuple[int, int]]) -> None:
    files = written(tmp_path, *(LOG.part(*cut) for cut in cuts))
    for order in (files, list(reversed(files))):
        result = verify(order)
        assert result.exit_code == 0 and result.output.endswith(f"{len(cuts)} files: they link\n")
    lines = [json.loads(line) for line in verify(files, "--json").stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]


def test_those_of_several_agents_are_linked_by_agent(tmp_path: Path) -> None:
    bob = Log(5, Target(ANN.namespace, "bob"))
    result = verify(written(tmp_path, LOG.part(0, 10), bob.part(0, 1)))
    assert result.exit_code == 0 and "1 mutation, 0 checkpoints" in result.output
    assert result.output.endswith("2 files: of 2 agents, and those of each link\n")


def test_a_missing_one_is_found(tmp_path: Path) -> None:
    result = verify(written(tmp_path, LOG.part(0, 10), LOG.part(11, 20)))
    assert result.exit_code == ExitCode.CORRUPT and "begins behind seq 11" in result.output


def test_one_of_another_history_is_found(tmp_path: Path) -> None:
    result = verify(written(tmp_path, LOG.part(0, 10), Log(30, actor="another").part(10, 20)))
    assert result.exit_code == ExitCode.CORRUPT and "another history" in result.output


def test_an_agent_that_was_made_anew_has_two_histories(tmp_path: Path) -> None:
    again = Log(30, actor="another")
    files = written(tmp_path, LOG.part(0, 10), LOG.part(10, 20), again.part(0, 5), again.part(5, 20))
    assert verify(files).exit_code == 0


def test_another_state_between_two_is_found(tmp_path: Path) -> None:
    part = LOG.part(10, 12)
    bent = ArchivePart(part.target, 10, part.base_hash, canonical_json({"n": 9}), part.mutations, ())
    result = verify(written(tmp_path, LOG.part(0, 10), bent))
    assert result.exit_code == ExitCode.CORRUPT and "another state than was there" in result.output


def test_a_branch_links_to_where_it_began(tmp_path: Path) -> None:
    branch = Log(15)
    branch.target = Target(*ANN[:2], "try")
    for seq in range(11, 16):
        mutation = branch.mutations[seq - 1]
        hash_ = hash_mutation(branch.hashes[seq - 1], seq, mutation.time_unix_ms, b"other", mutation.raw)
        branch.mutations[seq - 1] = mutation._replace(hash=hash_, actor="other")
        branch.hashes[seq] = hash_
    branch.checkpoints = []
    whole = verify(written(tmp_path, LOG.part(0, 20), branch.part(10, 12), branch.part(12, 15)))
    assert whole.exit_code == 0
    gap = verify(written(tmp_path, branch.part(10, 12), branch.part(13, 15)))
    assert gap.exit_code == ExitCode.CORRUPT


def test_damage_is_named_with_its_file(tmp_path: Path) -> None:
    whole, bent = written(tmp_path, LOG.part(0, 10), LOG.part(10, 20))
    data = bytearray(bent.read_bytes())
    for at in range(12, len(data), 97):
        bent.write_bytes(bytes([*data[:at], data[at] ^ 0x10, *data[at + 1 :]]))
        result = verify([whole, bent])
        assert result.exit_code == ExitCode.CORRUPT and bent.name in result.output.replace("\n", ""), at
    bent.write_bytes(data[:-20])
    assert verify([whole, bent]).exit_code == ExitCode.CORRUPT
