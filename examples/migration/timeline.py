"""What happened, when, and how it ended: values, for people (`report`) and for programs (`to_json`)."""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from examples.migration.verify import Check


class Kind(enum.StrEnum):
    """How a moment is shown."""

    NEWS = "news"
    FAILURE = "failure"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, in seconds since the demonstration began."""

    at_s: float
    kind: Kind
    what: str


@dataclass(slots=True)
class Failure:
    """A kill; `recovery_s` is from it to the next acknowledged event, None if there was none."""

    victim: str
    who: str
    batch: int
    at_s: float
    recovery_s: float | None = None


@dataclass(slots=True)
class Timeline:
    """The demonstration, as it goes."""

    batches: int
    files: int
    size_bytes: int
    began_s: float = field(default_factory=time.monotonic)
    moments: list[Moment] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    checks: Sequence[Check] = ()

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began_s

    @property
    def ok(self) -> bool:
        """Both failures happened and were recovered from, and all checks hold."""
        recovered = [failure.victim for failure in self.failures if failure.recovery_s is not None]
        return recovered == ["leader", "agent"] and bool(self.checks) and all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """For programs; times in seconds since the beginning."""
        return {
            "ok": self.ok,
            "duration_s": round(self.elapsed_s, 3),
            "batches": self.batches,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "failures": [asdict(failure) for failure in self.failures],
            "timeline": [asdict(moment) for moment in self.moments],
            "checks": [asdict(check) for check in self.checks],
        }
