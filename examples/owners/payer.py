"""Pays invoices, each once: under a lease, in steps. A process of its own: `python payer.py ENDPOINTS NAME LEDGER`.

It says on standard output what it does, one line each: `owner EPOCH`, `paying N`, `paid N`, `stale`, `done`.
The ledger stands for a bank: a file that only grows. It takes a payment once for each key, as banks do.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a file, too

import tallystick

INVOICES: Final = 8
AGENT: Final = "payer"
NAMESPACE: Final = "owners"
TTL_S: Final = 2.0
WAIT_S: Final = 60.0
STALE: Final = 3
"""The exit code of a payer that lost its lease."""

_SLOWLY_S: Final = 0.2


def pay(ledger: Path, number: int, payer: str, effect_key: str) -> str:
    """Asks the bank to pay; what it answers. The same key again is the same payment."""
    known = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    if not any(entry["key"] == effect_key for entry in known):
        with ledger.open("a") as file:
            file.write(json.dumps({"invoice": number, "key": effect_key, "by": payer}) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return f"receipt {effect_key[:8]}"


async def work(endpoints: str, payer: str, ledger: Path) -> None:
    """Takes over when the lease is free, and pays what is not paid."""
    async with tallystick.connect(endpoints, namespace=NAMESPACE, actor=payer) as client:
        agent = client.agent(AGENT)
        async with agent.lease(ttl_s=TTL_S, wait_s=WAIT_S) as lease:
            say(f"owner {lease.epoch}")
            for number in range(INVOICES):
                say(f"paying {number}")
                await agent.step(f"pay-{number}", pay, ledger, number, payer, on_ambiguous="retry")
                await agent.append(tallystick.ops.set(f"/paid/{number}", payer), cause=f"tool:pay#{number}")
                say(f"paid {number}")
                await asyncio.sleep(_SLOWLY_S)  # a payment takes its time
    say("done")


def say(what: str) -> None:
    """To whoever started us."""
    print(what, flush=True)


def main() -> int:
    """The exit code."""
    endpoints, payer, ledger = sys.argv[1:4]
    try:
        asyncio.run(work(endpoints, payer, Path(ledger)))
    except tallystick.StaleOwner:
        say("stale")
        return STALE
    return 0


if __name__ == "__main__":
    sys.exit(main())
