"""Power loss in short: two rounds lose nothing; and nodes that do not sync do lose, which the test sees.

The long run is `make power`. Each is a program of its own, in a mount namespace of its own (see `tests.power`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.power.__main__ import CANNOT

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM_S: Final = 170.0

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def _power(folder: Path, *flags: str) -> dict[str, object]:
    """What the program reports."""
    command = [sys.executable, "-m", "tests.power", f"--folder={folder}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def test_what_was_acknowledged_survives_the_loss_of_power_on_all_nodes_at_once(tmp_path: Path) -> None:
    result = _power(tmp_path, "--rounds=2")
    assert result["rounds"] == 2
    assert isinstance(result["at_cut"], int) and result["at_cut"] >= 2
    found = result["findings"]
    assert isinstance(found, dict)
    assert (found["lost"], found["twice"], found["misplaced"], found["strangers"], found["differing"]) == (0,) * 5
    assert found["compared"] >= 3 * result["at_cut"]


def test_nodes_that_do_not_sync_lose_what_they_acknowledged(tmp_path: Path) -> None:
    found = _power(tmp_path, "--without-sync")
    assert isinstance(found["lost"], int) and found["lost"] > 0
