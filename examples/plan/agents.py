"""The agents: one plans, two work. Read this file first.

All three hold the same context. The plan is:

    tasks      board       what there is to count; fields merge, claims are decided
    notes      text        what they told each other
    lines      counter     what was counted, summed
    seen       set         the kinds of files that were met
    deadline   register    what two may set differently: both values are kept

Rules of this file:
- An agent edits and goes on; it never waits for the network to edit.
- Before work that must not be done twice it claims, and it finishes the claim afterwards: both are decided by a
  majority. What it cannot have now it tries again later.
- What each did is also noted outside of the plan, to check the plan against.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import tallystick

CONTEXT: Final = "survey"
CLAIM_S: Final = 60.0
TRY_S: Final = 3.0
PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Notebook:
    """What the agents did, by their own account.

    Attributes:
        planned: tasks that were put on the board.
        told: lines of the notes.
        counted: who counted which task, with how many lines, in order.
        epochs: with which claims.
        deadlines: what was set, in order.
    """

    planned: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    counted: list[tuple[str, str, int]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    deadlines: list[str] = field(default_factory=list)


class Agent:
    """One agent with its replica of the plan."""

    def __init__(self, name: str, plan: tallystick.Context, notebook: Notebook) -> None:
        self.name = name
        self.plan = plan
        self._notebook = notebook

    def tell(self, line: str) -> None:
        """A line for the others."""
        line = f"{self.name}: {line}"
        self.plan.text("notes").append(f"{line}\n")
        self._notebook.told.append(line)

    def add_tasks(self, files: list[Path]) -> None:
        """Puts files on the board, to be counted."""
        with self.plan.transaction(cause="planning"):
            for file in files:
                task = str(file).replace("/", ":")
                self.plan.board("tasks").add(task, file=str(file))
                self._notebook.planned.append(task)
        self.tell(f"{len(files)} more files, from {files[0].name} on")

    def set_deadline(self, when: str) -> None:
        """Sets it, in place of what is seen."""
        self.plan.register("deadline").set(when)
        self._notebook.deadlines.append(when)

    async def work(self, root: Path, is_over: Callable[[], bool]) -> None:
        """Claims open tasks, one after the other, and does them."""
        board = self.plan.board("tasks")
        while not is_over():
            for task, fields in board.tasks(status="open").items():
                try:
                    claim = await board.claim(task, ttl_s=CLAIM_S, timeout_s=TRY_S)
                except tallystick.Conflict:
                    continue  # the other one has it, or has finished it and we have not heard yet
                except (tallystick.Unavailable, tallystick.Undecided):
                    break  # no majority just now
                await self._do(claim, root / str(fields["file"]))
            await asyncio.sleep(PAUSE_S)

    async def _do(self, claim: tallystick.contexts.Claim, file: Path) -> None:
        lines = await asyncio.to_thread(lambda: len(file.read_bytes().splitlines()))
        with self.plan.transaction(cause=f"count:{claim.task}"):
            self.plan.board("tasks").set(claim.task, status="done", by=self.name, lines=lines)
            self.plan.counter("lines").add(lines)
            self.plan.set("seen").add(file.suffix)
        self._notebook.counted.append((self.name, claim.task, lines))
        self._notebook.epochs.append(claim.epoch)
        while claim.is_held:
            try:
                await claim.finish(timeout_s=TRY_S)
            except (tallystick.Unavailable, tallystick.Undecided):
                await asyncio.sleep(PAUSE_S)
