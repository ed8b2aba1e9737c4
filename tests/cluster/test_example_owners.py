"""examples/owners: it comes to its end, and its verdict can be no."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from examples.owners import verify
from examples.owners.payer import INVOICES, STALE
from examples.owners.verify import Evidence

DEMO: Final = Path(__file__).resolve().parents[2] / "examples" / "owners" / "demo.py"
RUN_S: Final = 150.0


async def test_one_is_frozen_and_thawed_and_one_is_cut_off_and_reconciled() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, DEMO, "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode() + errors.decode()
    told = json.loads(output)
    assert told["ok"] is True
    assert len(told["checks"]) == 7 and all(check["ok"] for check in told["checks"])
    assert any("StaleOwner" in moment for moment in told["moments"])


def _sound() -> Evidence:
    """Evidence without a fault."""
    return Evidence(
        ledger=[{"invoice": number, "key": str(number), "by": "first"} for number in range(INVOICES)],
        frozen_exit=STALE,
        actors=["first", "first", "second"],
        paid={str(number): "first" for number in range(INVOICES)},
        queued=["mill", "bridge"],
        found=["bridge", "mill"],
        fates=["branched", "branched"],
        conflicts=["/mood"],
    )


def test_sound_evidence_holds() -> None:
    assert all(check.ok for check in verify.verify(_sound()))


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda e: dataclasses.replace(e, ledger=[*e.ledger, e.ledger[0]]), verify.check_paid_once),
        (lambda e: dataclasses.replace(e, ledger=e.ledger[1:]), verify.check_paid_once),
        (lambda e: dataclasses.replace(e, frozen_exit=0), verify.check_stale),
        (lambda e: dataclasses.replace(e, actors=["first", "second", "first"]), verify.check_one_writer),
        (lambda e: dataclasses.replace(e, actors=["first"]), verify.check_one_writer),
        (lambda e: dataclasses.replace(e, paid={"0": "first"}), verify.check_state),
        (lambda e: dataclasses.replace(e, fates=["branched"]), verify.check_fates),
        (lambda e: dataclasses.replace(e, fates=["branched", "refused"]), verify.check_fates),
        (lambda e: dataclasses.replace(e, found=["mill"]), verify.check_home),
        (lambda e: dataclasses.replace(e, found=["mill", "mill", "bridge"]), verify.check_home),
        (lambda e: dataclasses.replace(e, conflicts=[]), verify.check_conflicts),
    ],
)
def test_each_fault_is_seen(spoil: Callable[[Evidence], Evidence], check: Callable[[Evidence], verify.Check]) -> None:
    assert not check(spoil(_sound())).ok
