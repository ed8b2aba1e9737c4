"""The data folder's identity: bound once, held by one process, counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick_node.storage.errors import DataFolderInUse, IdentityDamaged, UnknownFormat, WrongDataFolder
from tallystick_node.storage.identity import open_identity


def test_a_new_folder_is_bound(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "data"
    with open_identity(folder, cluster_id="c1", node_id="n1") as identity:
        assert (identity.cluster_id, identity.node_id, identity.incarnation) == ("c1", "n1", 1)
        assert len(bytes.fromhex(identity.data_id)) == 16
        stored = json.loads((folder / "identity.json").read_text())
        assert stored == {
            "format": 1,
            "cluster_id": "c1",
            "node_id": "n1",
            "created": identity.created,
            "data_id": identity.data_id,
            "incarnation": 1,
        }
    assert sorted(path.name for path in folder.iterdir()) == ["LOCK", "identity.json"]


def test_each_opening_counts_up_and_the_rest_stays(tmp_path: Path) -> None:
    with open_identity(tmp_path, cluster_id="c1", node_id="n1") as first:
        pass
    for incarnation in (2, 3):
        with open_identity(tmp_path, cluster_id="c1", node_id="n1") as again:
            assert again.incarnation == incarnation
            assert (again.data_id, again.created) == (first.data_id, first.created)


@pytest.mark.parametrize(("cluster_id", "node_id"), [("c2", "n1"), ("c1", "n2")])
def test_another_node_or_cluster_is_refused(tmp_path: Path, cluster_id: str, node_id: str) -> None:
    open_identity(tmp_path, cluster_id="c1", node_id="n1").close()
    with pytest.raises(WrongDataFolder) as refused:
        open_identity(tmp_path, cluster_id=cluster_id, node_id=node_id)
    for word in ("'c1'", "'n1'", f"'{cluster_id}'", f"'{node_id}'", str(tmp_path)):
        assert word in str(refused.value)
    with open_identity(tmp_path, cluster_id="c1", node_id="n1") as identity:
        assert identity.incarnation == 2


def test_data_without_an_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(WrongDataFolder, match="journal"):
        open_identity(tmp_path, cluster_id="c1", node_id="n1")


def test_a_first_opening_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "LOCK").touch()
    (tmp_path / "identity.json.new").write_text('{"format": 1, "clus' * 30)
    with open_identity(tmp_path, cluster_id="c1", node_id="n1") as identity:
        assert identity.incarnation == 1


CHILD = """
import sys
from pathlib import Path
from tallystick_node.storage.identity import open_identity
with open_identity(Path(sys.argv[1]), cluster_id="c1", node_id="n1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_names_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DataFolderInUse, match=rf"pid {child.pid}\b"):
            open_identity(tmp_path, cluster_id="c1", node_id="n1")
        child.kill()
    with open_identity(tmp_path, cluster_id="c1", node_id="n1") as identity:
        assert identity.incarnation == 2


def test_a_refusal_lets_go_of_the_lock(tmp_path: Path) -> None:
    open_identity(tmp_path, cluster_id="c1", node_id="n1").close()
    for _ in range(2):
        with pytest.raises(WrongDataFolder):
            open_identity(tmp_path, cluster_id="c2", node_id="n1")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 1}', '{"format": 1, "cluster_id": "c1", "node_id": 3, "incarnation": 1}', "\xff"],
)
def test_a_damaged_identity_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "identity.json").write_text(text, encoding="latin-1")
    with pytest.raises(IdentityDamaged, match=r"identity\.json"):
        open_identity(tmp_path, cluster_id="c1", node_id="n1")


def test_a_newer_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text('{"format": 2}')
    with pytest.raises(UnknownFormat, match="format 2"):
        open_identity(tmp_path, cluster_id="c1", node_id="n1")
