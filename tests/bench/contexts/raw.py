"""What pycrdt and Yjs take for the same work, with no node between."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pycrdt

from tallystick.testing.local_links import free_addresses
from tests.bench.contexts.trace import Step
from tests.bench.figures import Reading

_YJS: Final = Path(__file__).resolve().parents[1] / "yjs"
_INSTALL_S: Final = 120.0
_PROGRAM_S: Final = 600.0


def key_sets(duration_s: float) -> list[Reading]:
    """A key is set, and the update applied to a second document, again and again. Blocks."""
    first: pycrdt.Doc[Any] = pycrdt.Doc(client_id=1)
    second: pycrdt.Doc[Any] = pycrdt.Doc(client_id=2)
    first.observe(lambda event: second.apply_update(event.update))
    root = first.get("m", type=pycrdt.Map)
    began_s = now_s = time.perf_counter()
    done = 0
    while now_s - began_s < duration_s:
        root[f"k{done % 100}"] = done
        done += 1
        now_s = time.perf_counter()
    return [Reading("pycrdt_rate", done / (now_s - began_s))]


def trace_in_pycrdt(steps: Sequence[Step]) -> list[Reading]:
    """The trace, edit by edit, each with its update; then those, one by one, for a second document. Blocks."""
    note = f"{len(steps):,} edits"
    updates: list[bytes] = []
    alone_s = _trace_s(steps, updates)
    follower: pycrdt.Doc[Any] = pycrdt.Doc(client_id=2)
    began_s = time.perf_counter()
    for update in updates:
        follower.apply_update(update)
    both_s = alone_s + time.perf_counter() - began_s
    return [Reading("pycrdt_trace_s", alone_s, note=note), Reading("pycrdt_trace_two_s", both_s, note=note)]


def _trace_s(steps: Sequence[Step], updates: list[bytes]) -> float:
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=1)
    text = doc.get("text", type=pycrdt.Text)
    doc.observe(lambda event: updates.append(event.update))
    began_s = time.perf_counter()
    for at, letter in steps:
        if letter:
            text.insert(at, letter)
        else:
            del text[at]
    return time.perf_counter() - began_s


def load(update: bytes, note: str) -> list[Reading]:
    """An empty document takes all of another. Blocks."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=2)
    began_s = time.perf_counter()
    doc.apply_update(update)
    return [Reading("pycrdt_load_ms", (time.perf_counter() - began_s) * 1e3, note=note)]


async def install_yjs() -> bool:
    """Installs y-websocket and its server from npm, once; whether they are there."""
    if (_YJS / "node_modules" / ".package-lock.json").exists():
        return True
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    process = await asyncio.create_subprocess_exec(
        *("npm", "ci", "--no-audit", "--no-fund"),
        cwd=_YJS,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_INSTALL_S):
            return await process.wait() == 0
    except TimeoutError:
        process.kill()
        await process.wait()
        return False


async def y_websocket(duration_s: float) -> list[Reading]:
    """Two clients of a stock server: how soon one sees what the other edits, and how many edits a second pass."""
    host, _, port = next(free_addresses()).rpartition(":")
    server = await asyncio.create_subprocess_exec(
        "node",
        "node_modules/@y/websocket-server/src/server.js",
        cwd=_YJS,
        env={**os.environ, "HOST": host, "PORT": port},
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    try:
        await server.stdout.readline()
        answer = await _program("pass", f"ws://{host}:{port}", str(duration_s))
    finally:
        server.kill()
        await server.wait()
    return [Reading("yjs_seen_ms", answer["seen_ms"]), Reading("yjs_rate", answer["rate"])]


async def trace_in_yjs(steps: Sequence[Step], folder: Path) -> list[Reading]:
    """The trace in Yjs, edit by edit."""
    path = folder / "trace.json"
    path.write_text(json.dumps(steps))
    answer = await _program("trace", str(path))
    return [Reading("yjs_trace_s", answer["taken_s"], note=f"{len(steps):,} edits")]


async def _program(*arguments: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        "node", "program.mjs", *arguments, cwd=_YJS, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_PROGRAM_S):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    answer: dict[str, float] = json.loads(said)
    return answer
