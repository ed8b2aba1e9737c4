"""One run of the fuzzer: draws, admits, hands what was admitted to a victim, and counts.

A finding is: admission raising what is no refusal, a victim that dies, hangs, panics, or holds another state than
foretold. pycrdt refusing what was admitted is counted, but no finding: whoever applies is ready for it.
"""

from __future__ import annotations

import json
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.errors import TallystickError
from tallystick_node.contexts.updates.admission import Admitted, Origin, admit
from tallystick_node.contexts.updates.decode import Update, decode
from tallystick_node.contexts.updates.places import Places, Shape
from tests.fuzz.corpus import Base, bases
from tests.fuzz.inputs import Inputs
from tests.fuzz.victim import Case

_BATCH: Final = 32
_CHAIN: Final = 4
"""Updates that one document gets at most."""
_HANG_S: Final = 60.0


@dataclass
class Finding:
    """What must not be."""

    what: str
    updates: tuple[str, ...]
    """Hex: the document, then what was applied."""


class Target(NamedTuple):
    """A document, and what is drawn against it."""

    base: Base
    whole: Update
    source: Inputs


@dataclass
class Report:
    """What was tried."""

    inputs: int = 0
    admitted: int = 0
    lacking: int = 0
    applied: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Sums up."""
        self.inputs += other.inputs
        self.admitted += other.admitted
        self.lacking += other.lacking
        self.applied += other.applied
        self.outcomes.update(other.outcomes)
        self.findings.extend(other.findings)


class Victim:
    """The process, started again when it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.victim"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
        return self._process

    def judge(self, cases: Sequence[Case]) -> list[str]:
        """A verdict for each case; `died: ...` or `hung` where it did."""
        verdicts: list[str] = []
        while len(verdicts) < len(cases):
            verdicts.append(self._judge_one(cases[len(verdicts)]))
        return verdicts

    def _judge_one(self, case: Case) -> str:
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(case.encode())
        except BrokenPipeError:
            return f"died: {process.wait()}"
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(_HANG_S):
                    process.kill()
                    process.wait()
                    return "hung"
                part = process.stdout.read(4096)
                if not part:
                    return f"died: {process.wait()}"
                line += part
        return line.decode().strip()

    def close(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


def run(
    seed: int,
    *,
    inputs: int | None = None,
    seconds: float | None = None,
    judge: Callable[[Sequence[Case]], list[str]] | None = None,
) -> Report:
    """Tries so many inputs, or for so long; `judge` stands in for the victim."""
    rng = random.Random(seed)
    report = Report()
    victim = Victim()
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        targets = [
            Target(base, decode(base.state, with_structs=True), Inputs(rng, base.updates or (base.state,), base.roots))
            for base in bases()
        ]
        waiting: list[Case] = []
        while (inputs is None or report.inputs < inputs) and (deadline is None or time.monotonic() < deadline):
            case = _draw_case(rng.choice(targets), report)
            if case is not None:
                waiting.append(case)
            if len(waiting) >= _BATCH:
                _judge(report, waiting, judge or victim.judge)
                waiting = []
        _judge(report, waiting, judge or victim.judge)
    finally:
        victim.close()
    return report


def _judge(report: Report, cases: Sequence[Case], judge: Callable[[Sequence[Case]], list[str]]) -> None:
    for case, verdict in zip(cases, judge(cases), strict=True):
        report.applied += len(case.updates)
        what = verdict.split(":", 1)[0]
        report.outcomes[what] += 1
        if what not in ("ok", "refused"):
            report.findings.append(Finding(verdict, (case.state.hex(), *(one.hex() for one in case.updates))))


def _draw_case(target: Target, report: Report) -> Case | None:
    known = target.base.known
    updates: list[bytes] = []
    after: list[dict[int, int]] = []
    repeats = False
    places = Places()
    places.add(target.whole, {}, may_clash=True)
    for _ in range(_CHAIN):
        data = target.source.draw(known)
        admitted = _admit(data, known, places, report)
        if admitted is not None:
            updates.append(data)
            after.append(admitted.after)
            known = admitted.after
            repeats = repeats or admitted.repeats
    if not updates:
        return None
    texts = {name for name, shape in places.roots.items() if shape is Shape.TEXT} | places.clashes
    return Case(
        target.base.state, tuple(updates), tuple(after), tuple(sorted(texts)), repeats, tuple(sorted(places.clashes))
    )  # fmt: skip


def _admit(data: bytes, known: dict[int, int], places: Places, report: Report) -> Admitted | None:
    report.inputs += 1
    try:
        admitted = admit(data, known, origin=Origin.PEER, with_structs=True)
        if admitted.lacks:
            report.lacking += 1
            return None
        places.add(admitted.update, known, may_clash=True)
    except TallystickError as error:
        report.outcomes[error.reason.value] += 1
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        report.findings.append(Finding(f"admission raised {error!r}", (json.dumps(known), data.hex())))
        return None
    report.admitted += 1
    return admitted
