"""A stock Yjs client under Node, told what to do by a test; and Yjs as the oracle of what updates mean.

Rules of this file:
- Where Node or npm is missing the tests skip with a word; in CI they fail instead.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

_FOLDER: Final = Path(__file__).parent
_ANSWER_S: Final = 60.0
_INSTALL_S: Final = 120

Roots = Mapping[str, str]
"""Names of roots, and their types: map, list or text."""


def install_yjs() -> None:
    """Installs the packages of package-lock.json beside it, once; skips the test where that cannot be."""
    if (_FOLDER / "node_modules" / ".package-lock.json").exists():
        return
    if shutil.which("node") is None or shutil.which("npm") is None:
        _missing("node and npm are not installed")
    command = ["npm", "ci", "--omit=optional", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=_FOLDER, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode != 0:
        _missing(f"npm could not install yjs: {done.stderr[-500:]}")


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class YjsClient:
    """One process with one document. Used as `async with`; `install_yjs` comes first."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "program.mjs",
            cwd=_FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, command: str, **arguments: object) -> dict[str, object]:
        """Has a command of program.mjs done; its answer."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            await process.stdin.drain()
            line = await process.stdout.readline()
        answer = json.loads(line)
        assert isinstance(answer, dict)
        assert "error" not in answer, answer
        return answer

    async def open(self, url: str, room: str, **params: str) -> dict[str, object]:
        """Connects as y-websocket does; returns once it is synced or was told not to come back."""
        return await self.ask("open", url=url, room=room, params=params)

    async def edit(self, root: str, kind: str, **what: object) -> None:
        """One transaction on a root."""
        await self.ask("edit", root=root, type=kind, **what)

    async def until(self, roots: Roots, equals: Mapping[str, object]) -> None:
        """Returns once the roots are that; fails with what they are instead."""
        answer = await self.ask("until", roots=roots, equals=equals)
        assert answer["reached"], answer["shown"]

    async def merged(self, updates: Sequence[bytes], roots: Roots) -> dict[str, object]:
        """What Yjs makes of updates: the oracle."""
        encoded = [base64.b64encode(update).decode() for update in updates]
        answer = await self.ask("merge", updates=encoded, roots=roots)
        assert not answer["pending"]
        shown = answer["shown"]
        assert isinstance(shown, dict)
        return shown
