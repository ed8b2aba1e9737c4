"""The figures of a run: as a document, as a table, as a section of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from tallystick.testing import Verdict
from tests.chaos.judge import Verdicts
from tests.cluster.harness_ledger import Findings


@dataclass(slots=True)
class Figures:
    """What a run found.

    Attributes:
        seconds: how long there was load.
        operations: by action and outcome, for example `append ok`.
        faults: how often each began.
        on_leader: rounds of faults that hit the leader.
        longest_s: the longest time without an acknowledgement while a majority was connected; `longest_under`: the
            faults that came and went in it.
        term: of the last leader: how often one was sought.
        memory_bytes: the most that this process took (RSS).
        planned, promised: edits of a shared context, and those of them that a majority was said to have.
        workers_killed: how often the process that holds a node's documents was killed by itself.
        wrong: what was wrong, in words; empty in a good run.
    """

    seed: int
    seconds: float = 0.0
    nodes: int = 0
    clients: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    undecided: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    on_leader: int = 0
    longest_s: float = 0.0
    longest_under: tuple[str, ...] = ()
    without_majority_s: float = 0.0
    term: int = 0
    memory_bytes: int = 0
    generations: int = 0
    planned: int = 0
    promised: int = 0
    workers_killed: int = 0
    findings: Findings = field(default_factory=Findings)
    verdicts: Verdicts = field(default_factory=Verdicts)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether all promises were kept, and there was something to keep."""
        judged = self.verdicts.tallies.values()
        return (
            self.findings.is_clean
            and bool(judged)
            and all(tally.verdict is Verdict.VALID for tally in judged)
            and not self.wrong
        )


def document(figures: Figures) -> str:
    """JSON, for programs."""
    verdicts = {name: str(tally.verdict) for name, tally in figures.verdicts.tallies.items()}
    return json.dumps({"is_clean": figures.is_clean, "judged": verdicts, **asdict(figures)}, indent=2) + "\n"


def rows(figures: Figures) -> dict[str, str]:
    """What people read, by title."""
    found = figures.findings
    faults = ", ".join(f"{count:,} {kind}" for kind, count in sorted(figures.faults.items()))
    return {
        "duration": f"{figures.seconds / 60:.1f} minutes",
        "seed": str(figures.seed),
        "nodes, clients": f"{figures.nodes}, {figures.clients}",
        "operations": f"{sum(figures.operations.values()):,}",
        "acknowledged writes": f"{figures.acknowledged:,}",
        "writes whose outcome was never told": f"{figures.undecided:,}",
        "faults": f"{sum(figures.faults.values()):,} ({faults})",
        "rounds of faults that hit the leader": f"{figures.on_leader:,}",
        "terms": f"{figures.term:,}",
        "edits of a shared context": f"{figures.planned:,}, {figures.promised:,} of them promised while faults went on",
        "workers killed": f"{figures.workers_killed:,}",
        "**acknowledged writes lost**": f"**{found.lost:,}**",
        "writes found twice": f"{found.twice:,}",
        "writes elsewhere than their answer said": f"{found.misplaced:,}",
        "writes found that were told to have done nothing": f"{found.strangers:,}",
        "agents whose logs differ between nodes": f"{found.differing:,}",
        "longest time without an acknowledgement while a majority was connected": f"{figures.longest_s:.1f} s "
        f"({', then '.join(figures.longest_under) or 'no fault'})",
        "time without a connected majority": f"{figures.without_majority_s:.0f} s",
        **{
            name: f"{tally.verdict}, {tally.checked:,} checked in {tally.valid + tally.invalid + tally.unknown:,} parts"
            for name, tally in figures.verdicts.tallies.items()
        },
        "memory of the clients and judges, at most": f"{figures.memory_bytes / 2**20:.0f} MiB",
    }


def text(figures: Figures, table: Mapping[str, str]) -> str:
    """The table, and what was wrong in words."""
    width = max(map(len, table))
    lines = [f"{title.strip('*'):<{width}}  {value.strip('*')}" for title, value in table.items()]
    wrong = [*figures.wrong, *figures.verdicts.texts, *figures.findings.texts]
    return "\n".join([*lines, *wrong, "all promises kept" if figures.is_clean else "PROMISES WERE BROKEN"])
