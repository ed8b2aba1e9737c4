"""What is measured: each figure with its unit, its target and the raw figures that stand beside it.

Rules of this file: a figure is a row here, and appears in the report in this order; a measure gives readings by key.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

CALLERS: Final = 64
"""Concurrent callers of the measures that have several."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the report.

    Attributes:
        key: what readings name it by.
        title: what it is.
        unit: of its values.
        target: what it must reach, or None.
        higher_is_better: how to compare with the target.
        by_worst: it is the worst reading that must reach the target, not the median.
        raw: keys of raw figures; their medians, added up, are what the machine allows.
    """

    key: str
    title: str
    unit: str
    target: float | None = None
    higher_is_better: bool = False
    by_worst: bool = False
    raw: tuple[str, ...] = ()


FIGURES: Final = (
    Figure("fdatasync_ms", "raw: append 256 bytes to a file and fdatasync, p50", "ms"),
    Figure("echo_ms", "raw: gRPC echo of 256 bytes, p50", "ms"),
    Figure("echo_rate", f"raw: gRPC echoes, {CALLERS} callers", "1/s", higher_is_better=True),
    Figure("stream_echo_ms", "raw: gRPC stream, 256 bytes there and back, p50", "ms"),
    Figure("append_ms", "append, one after another, p50", "ms", 2.5, raw=("fdatasync_ms", "echo_ms")),
    Figure("append_p99_ms", "append, one after another, p99", "ms"),
    Figure("lease_append_ms", "append under a lease, one after another, p50", "ms"),
    Figure("lease_ratio", "append under a lease over one without, in turns", "x", 1.05),
    Figure("observing_ratio", "append that says another log was read over one that says nothing, in turns", "x"),
    Figure("observing_64_ratio", "the same, of 64 other logs", "x"),
    Figure("compare_ms", "which of two mutations happened before, p50", "ms"),
    Figure("schema_append_ms", "append to an agent whose state has a schema, one after another, p50", "ms"),
    Figure("schema_ratio", "append to an agent whose state has a schema over one without, in turns", "x"),
    Figure(
        "schema_beside_ratio", "append where other agents have schemas over one where none has, in turns", "x", 1.05
    ),
    Figure("schema_large_ms", "append to an agent whose large state has a schema, p50", "ms"),
    Figure(
        "schema_stream_rate",
        "AppendStream to an agent whose state has a schema, requests",
        "1/s",
        higher_is_better=True,
    ),
    Figure("fork_ms", "fork of an agent with a large state, p50", "ms"),
    Figure("fork_ratio", "fork of a large state over an append to a small one, in turns", "x", 1.2),
    Figure("fork_first_ms", "first append to a branch of a large state, which is rebuilt for it", "ms"),
    Figure("step_ms", "step: begun and completed, one after another, p50", "ms"),
    Figure("append_rate", f"appends, {CALLERS} callers", "1/s", 1500, higher_is_better=True, raw=("echo_rate",)),
    Figure("stream_rate", "AppendStream, mutations", "1/s", 20_000, higher_is_better=True),
    Figure("stream_single_rate", "AppendStream, requests of one mutation", "1/s", higher_is_better=True),
    Figure("session_ms", "head read, session, p50", "ms", raw=("echo_ms",)),
    Figure(
        "session_rate",
        f"head reads, session, {CALLERS} callers",
        "1/s",
        1500,
        higher_is_better=True,
        raw=("echo_rate",),
    ),
    Figure("linearizable_ms", "head read, linearizable, p50", "ms", raw=("echo_ms",)),
    Figure(
        "linearizable_rate",
        f"head reads, linearizable, {CALLERS} callers",
        "1/s",
        higher_is_better=True,
        raw=("echo_rate",),
    ),
    Figure("journal_append", "journal of a node, for a mutation appended alone", "bytes"),
    Figure("journal_stream", "journal of a node, for a mutation in a stream", "bytes"),
    Figure("short_log_ms", "head read, session, of an agent with 100 mutations, p50", "ms"),
    Figure("long_log_ms", "the same with a long log, p50", "ms"),
    Figure("long_log_ratio", "long log over short log", "x"),
    Figure("large_short_ms", "rehydrating at head a state of 1 MB, with a short log, p50", "ms", 15),
    Figure("large_long_ms", "the same with a long log, p50", "ms", 15),
    Figure("large_cold_ms", "the same, when the node does not have it in memory", "ms", 15),
    Figure("resume_ms", "resuming an agent with 10,000 completed steps, all results at hand", "ms", 200),
    Figure("conversation_append_ratio", "a conversation checkpointed every turn, on disk, over its own bytes", "x", 3),
    Figure("conversation_short_ratio", "the same of a conversation that is too short for the target", "x"),
    Figure("conversation_save_ratio", "the same, its whole state saved every turn", "x", 3),
    Figure("agents_rate", "new agents, a first mutation each", "1/s", higher_is_better=True),
    Figure("rss_mib", "memory of a node (RSS), with the agents stored", "MiB", 150, by_worst=True),
    Figure("rss_few_mib", "memory of a node (RSS), with too few agents for the target", "MiB"),
    Figure("failover_ms", "SIGKILL of the leader to the next acknowledgement", "ms", 2000, by_worst=True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time of one operation, in microseconds, by process; the followers' is the sum of all of them.

    `others_part` is what the rest of the machine took meanwhile, as a part (0..1) of all its CPUs.
    """

    client_us: float
    leader_us: float
    followers_us: float
    others_part: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a figure. `note` says what cannot be known before, for example how many agents there were."""

    key: str
    value: float
    cost: Cost | None = None
    note: str = ""


@dataclass(slots=True)
class Result:
    """All readings of a figure."""

    figure: Figure
    values: list[float] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without a target."""
        target, higher = self.figure.target, self.figure.higher_is_better
        if target is None:
            return None
        worst = min(self.values) if higher else max(self.values)
        value = worst if self.figure.by_worst else self.median
        return value >= target if higher else value <= target

    @property
    def cost(self) -> Cost | None:
        """The median of each process."""
        if not self.costs:
            return None
        return Cost(
            statistics.median(cost.client_us for cost in self.costs),
            statistics.median(cost.leader_us for cost in self.costs),
            statistics.median(cost.followers_us for cost in self.costs),
            statistics.median(cost.others_part for cost in self.costs),
        )


def gather(readings: Iterable[Reading], figures: Sequence[Figure] = FIGURES) -> list[Result]:
    """The results in the order of the figures; those without a reading are left out."""
    results = {figure.key: Result(figure) for figure in figures}
    for reading in readings:
        result = results[reading.key]
        result.values.append(reading.value)
        result.note = reading.note or result.note
        if reading.cost is not None:
            result.costs.append(reading.cost)
    return [result for result in results.values() if result.values]


def allowed(result: Result, by_key: Mapping[str, Result]) -> float | None:
    """What the machine allows beside this figure: its raw medians, added up; None if it has none in this run."""
    raw = [by_key[key].median for key in result.figure.raw if key in by_key]
    return sum(raw) if raw and len(raw) == len(result.figure.raw) else None
