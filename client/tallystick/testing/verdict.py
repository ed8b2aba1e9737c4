"""What a checker says: a verdict, and why.

Rules of this file:
- Only `VALID` is a pass. Out of budget is `UNKNOWN`, and so is a check that saw nothing: neither proves anything.
- A report is true as a condition only if it is `VALID`, so that `assert check(...)` means what it says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from tallystick.testing.history import Operation

Budget: TypeAlias = Callable[[], bool]
"""Whether a search may go on; asked once a step. By time: `lambda: time.monotonic() < deadline_s`."""

MAX_VIOLATIONS: Final = 20
"""Violations in one report: checkers stop looking for more."""


class Verdict(enum.StrEnum):
    """The three answers."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise.

    Attributes:
        rule: which promise, for programs to match.
        text: what happened, for people.
        operations: those that show it, if the checker judges operations.
    """

    rule: str
    text: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


class CheckFailed(AssertionError):
    """A check did not come out `VALID`; `report` says why."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True, slots=True)
class Report:
    """What a checker found.

    Attributes:
        checker: which one.
        verdict: only `VALID` is a pass.
        checked: how many things were judged (operations, events or comparisons); 0 is never a pass.
        violations: what is wrong, at most `MAX_VIOLATIONS`.
        unfinished: what the budget did not suffice for.
    """

    checker: str
    verdict: Verdict
    checked: int
    violations: tuple[Violation, ...] = ()
    unfinished: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.verdict is Verdict.VALID

    def raise_unless_valid(self) -> None:
        """Raises:
        CheckFailed: the verdict is `INVALID` or `UNKNOWN`.
        """
        if not self:
            raise CheckFailed(self)

    def __str__(self) -> str:
        lines = [f"{self.checker}: {self.verdict}, {self.checked} checked", *map(str, self.violations)]
        if self.unfinished:
            some = ", ".join(map(repr, self.unfinished[:5]))
            lines.append(f"out of budget for {len(self.unfinished)}: {some}{', ...' * (len(self.unfinished) > 5)}")
        if not self.checked:
            lines.append("nothing was there to check, which proves nothing")
        return "\n".join(lines)


def conclude(checker: str, checked: int, violations: Iterable[Violation], unfinished: Iterable[str] = ()) -> Report:
    """The report; takes no more violations than it can hold, and looks at what is unfinished after them."""
    found = tuple(islice(violations, MAX_VIOLATIONS))
    left = tuple(unfinished)
    passed = Verdict.VALID if checked and not left else Verdict.UNKNOWN
    verdict = Verdict.INVALID if found else passed
    return Report(checker, verdict, checked, found, left)


def steps(limit: int) -> Budget:
    """A budget of so many steps: the same verdict on every machine."""
    left = limit

    def may_go_on() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    return may_go_on
