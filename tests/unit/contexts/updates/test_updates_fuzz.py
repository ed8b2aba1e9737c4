"""A short slice of `make fuzz`, and what it found before."""

from __future__ import annotations

from tests.fuzz.run import run


def test_hostile_updates_do_no_harm() -> None:
    report = run(20, inputs=2500)
    assert report.findings == []
    assert report.outcomes["ok"] > 100
    assert report.outcomes["MALFORMED_UPDATE"] > 1000
    assert report.outcomes["TOO_DEEP"] > 0
