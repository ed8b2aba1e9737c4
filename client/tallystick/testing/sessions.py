"""Session guarantees: what a process wrote and saw stays written and seen, to itself, whichever node answers.

Judged by the revisions of the replies, four rules to a process (Terry and others, 1994). That what was read is what was
written up to that revision is for the witness check to say.

Rules of this file:
- A session is a process. Only an answer that came before a request began binds it.
- Local reads promise nothing, so they neither bind nor are bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from tallystick.testing.history import Operation, highest_before
from tallystick.testing.verdict import Report, Violation, conclude


@dataclass(frozen=True, slots=True)
class _Rule:
    """Whether what came before and what came after are writes; two writes never share a revision."""

    name: str
    earlier_writes: bool
    later_writes: bool


_RULES: Final = (
    _Rule("read-your-writes", earlier_writes=True, later_writes=False),
    _Rule("monotonic-reads", earlier_writes=False, later_writes=False),
    _Rule("monotonic-writes", earlier_writes=True, later_writes=True),
    _Rule("writes-follow-reads", earlier_writes=False, later_writes=True),
)


def check_sessions(history: Iterable[Operation]) -> Report:
    """Judges each process of a history: `read-your-writes`, `monotonic-reads`, `monotonic-writes`,
    `writes-follow-reads`, and `revision` for a reply that bears none.
    """
    sessions: dict[str, list[Operation]] = {}
    for op in history:
        if op.outcome == "ok" and op.consistency != "local":
            sessions.setdefault(op.process, []).append(op)
    violations = (violation for session in sessions.values() for violation in _violations(session))
    return conclude("sessions", sum(map(len, sessions.values())), violations)


def _violations(session: list[Operation]) -> Iterator[Violation]:
    for op in session:
        if op.revision is None and (op.changes or op.kind == "read"):  # a refusal may come without
            yield Violation("revision", f"a reply without a revision: {op}", (op,))
    known = [op for op in session if op.revision is not None]
    for rule in _RULES:
        before = (op for op in known if op.changes is rule.earlier_writes)
        after = (op for op in known if op.changes is rule.later_writes)
        for later, earlier in highest_before(before, after):
            if cast("int", later.revision) < cast("int", earlier.revision) + rule.later_writes:
                yield Violation(rule.name, f"{later} does not see {earlier}", (earlier, later))
