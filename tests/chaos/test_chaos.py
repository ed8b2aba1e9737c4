"""Chaos in short: half a minute of faults under load, and not one promise broken. The long run is `make chaos`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.chaos import report
from tests.chaos.nemesis import Kind
from tests.chaos.run import Chaos

SEED: Final = 1374  # its first three rounds have every kind of fault, and kill a majority
LONG_SEED: Final = 5

pytestmark = [pytest.mark.timeout(480)]


@pytest.mark.parametrize(("seed", "duration_s"), [(SEED, 30.0), pytest.param(LONG_SEED, 60.0, marks=pytest.mark.long)])
async def test_no_promise_is_broken_by_faults(tmp_path: Path, seed: int, duration_s: float) -> None:
    figures = await Chaos(tmp_path, seed=seed, duration_s=duration_s, nodes=3, say=lambda _: None).run()
    said = report.text(figures, report.rows(figures))
    assert figures.is_clean, said
    assert set(figures.faults) >= {Kind.KILL, Kind.PAUSE}, said
    assert figures.acknowledged > 0, said
    assert figures.promised > 0, said
    assert figures.workers_killed > 0, said
    assert figures.verdicts.tallies.keys() >= {"linearizability", "witness", "sessions", "watch", "convergence"}
    assert json.loads(report.document(figures))["is_clean"] is True
