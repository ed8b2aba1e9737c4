"""A process with a worker that prints the worker's pid and stands, to be killed by a test."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.unit.contexts.worker.kit import running


async def _hold(folder: Path) -> None:
    async with running(folder) as supervisor:
        print(supervisor.status.pid, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_hold(Path(sys.argv[1])))
