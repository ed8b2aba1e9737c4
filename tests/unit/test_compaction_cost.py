"""What the removal of a log's past costs while the loop stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick_node.core.retention_records import Compacted, CompactLog, PinCheckpoint
from tallystick_node.storage import rebuilding
from tallystick_node.storage.database import Database
from tallystick_node.storage.verify import verify
from tests.unit.database_support import START_MS, append, apply_each, checkpoint, set_op, target

COUNT = 100


def test_states_that_stay_are_made_one_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutation is gone through once, however many points of the log are pinned."""
    database = Database.open(tmp_path / "one.db", state_cache_bytes=2**20)
    for seq in range(1, COUNT + 1):
        pin = PinCheckpoint(START_MS, target(), f"c{seq}", is_pinned=True)
        apply_each(database, append([set_op("/n", str(seq))]), checkpoint(f"c{seq}"), pin)
    replayed = 0
    replay = rebuilding._replay

    def counted(*args: object) -> None:
        nonlocal replayed
        replayed += 1
        replay(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuilding, "_replay", counted)
    hash_ = database.reads.mutations(target(), COUNT - 1, 1).items[0].hash
    (done,) = apply_each(database, CompactLog(START_MS, target(), COUNT + 1, hash_, "keeper"))
    assert isinstance(done.outcome, Compacted) and done.outcome.anchor_seq == COUNT - 1
    assert replayed <= COUNT
    verify(database._sql)
    database.close()
