"""Chaos in short: a minute of random faults under load, and not one promise broken. The long run is `make chaos`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.chaos import report
from tests.chaos.nemesis import Kind
from tests.chaos.run import Chaos

DURATION_S: Final = 60.0
SEED: Final = 5  # its first five rounds have every kind of fault, and kill a majority

pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(480)]


async def test_no_promise_is_broken_by_a_minute_of_faults(tmp_path: Path) -> None:
    figures = await Chaos(tmp_path, seed=SEED, duration_s=DURATION_S, nodes=3, say=lambda _: None).run()
    said = report.text(figures, report.rows(figures))
    assert figures.is_clean, said
    assert set(figures.faults) >= {Kind.KILL, Kind.PAUSE}, said
    assert figures.acknowledged > 0, said
    assert figures.promised > 0, said
    assert figures.workers_killed > 0, said
    assert figures.verdicts.tallies.keys() >= {"linearizability", "witness", "sessions", "watch", "convergence"}
    assert json.loads(report.document(figures))["is_clean"] is True
