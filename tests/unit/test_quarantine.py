"""A data folder that was closed stays closed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tallystick_node.storage.errors import DiskFull, Quarantined
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.identity import open_identity
from tallystick_node.storage.quarantine import QUARANTINE_NAME, check_not_quarantined, quarantine
from tests.unit.journal_kit import FaultyFiles


def bound(folder: Path) -> None:
    open_identity(folder, cluster_id="c", node_id="n1").close()


def test_a_quarantined_folder_does_not_open_and_says_why(tmp_path: Path) -> None:
    bound(tmp_path)
    check_not_quarantined(tmp_path)
    quarantine(tmp_path, "its digest is not that of n2", 77)
    with pytest.raises(Quarantined) as refused:
        open_identity(tmp_path, cluster_id="c", node_id="n1")
    for part in (str(tmp_path / QUARANTINE_NAME), "its digest is not that of n2", "entry 77", "docs/how-to/"):
        assert part in str(refused.value)
    (tmp_path / QUARANTINE_NAME).unlink()
    with open_identity(tmp_path, cluster_id="c", node_id="n1") as identity:
        assert identity.incarnation == 2  # the refusal was no opening
    assert [path.name for path in tmp_path.glob("*.new")] == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 2}', b"\xff\xfe"])
def test_it_stays_closed_where_the_reason_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    bound(tmp_path)
    (tmp_path / QUARANTINE_NAME).write_bytes(data)
    with pytest.raises(Quarantined, match="reason cannot be read"):
        open_identity(tmp_path, cluster_id="c", node_id="n1")


def test_it_is_on_disk_or_an_error(tmp_path: Path) -> None:
    for operation in ("open_append", "write", "fdatasync", "replace", "sync_folder"):
        files = FaultyFiles()
        files.failing = {operation}
        with pytest.raises(OSError, match=operation) as failed:
            quarantine(tmp_path, "why", 1, files=files)
        assert failed.value.errno == errno.EIO
    files = FaultyFiles()
    files.room_bytes = 5
    with pytest.raises(DiskFull):
        quarantine(tmp_path, "why", 1, files=files)
    quarantine(tmp_path, "the second reason", 2, files=RealFiles())
    with pytest.raises(Quarantined, match="second reason"):
        check_not_quarantined(tmp_path)
