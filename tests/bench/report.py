"""The report: a table for a terminal, a page for the docs, a document for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Result, allowed

_COLUMNS: Final = (
    "figure",
    "median",
    "min .. max",
    "target",
    "met",
    "raw",
    "ratio to raw",
    "CPU us",
)
_MET: Final = {True: "yes", False: "NO", None: ""}

_CONTEXTS: Final = "## Contexts"
"""Where the second part of the page begins."""

_LOG_PART: Final = """# Benchmarks

`make bench` measures this, and the contexts below, on three real nodes (`tallystick serve`, fsync on, no TLS) and a
client in one process, all on one machine, and prints it. `python -m tests.bench --write` also writes this part of the
page, with `--contexts` the other. Mutations have {size} bytes on the
wire. Each figure is the median of its readings, with the least and the greatest. Targets are for two cores; memory and
failover are held to their worst reading, the others to their median.

The raw figures come from the same run, in turns with the others: a file that is appended to and synced, and a gRPC
server that only echoes. `raw` beside a figure is what the machine allows, taken from those: for an append, one sync
and one echo. CPU is what one operation takes, in microseconds: of the client, of the leader, and of the
followers together.

For orientation: on a machine of this kind (two cores), with a Python client too, three etcd nodes give 2.55 ms for one
put after another, 1,512 puts/s and 1,462 linearizable reads/s.

{machine}

{table}
"""

_CONTEXTS_PART: Final = (
    _CONTEXTS
    + """

The same for contexts, by `python -m tests.bench --contexts`: three real nodes, and clients of the library in one
process. CPU is what one edit takes of the clients, of the node that they talk to, and of its worker. What a node
acknowledges is on its disk, and what a subscriber of another node sees is on the disk of the node that took it; the raw
figures know no disk:

- pycrdt in one process, the document alone, where each edit gives its update, and with a second one that takes those,
  one by one, as a node would;
- Yjs in Node, and two stock `y-websocket` clients in one process with `@y/websocket-server` between them, if npm can
  install them.

The trace is made up: as many inserts and deletes of one character as in the automerge paper's (259,778 edits, a third
of them deletes), at a cursor that moves mostly nearby. Its edits go out in groups, as those of an agent that waits for
nothing; "cannot be grouped" means that each edit has a cause of its own, and is an update of its own all the way. Where
a place is in a text pycrdt finds by walking there, so an edit of a long text costs it more than one of a short text.
A document is opened by a client that holds nothing of it, which is sent its content and not its history; at a node that
has just started, its worker first loads it from the disk.

{machine}

{table}
"""
)


def print_table(results: Sequence[Result], machine: Mapping[str, str]) -> None:
    """The table, on stdout."""
    console = Console(highlight=False)
    for name, text in _head(results, machine).items():
        console.print(f"{name:>12}  {text}", markup=False, soft_wrap=True)
    table = Table(*_COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = column.header != _COLUMNS[-1]
    for result, row in zip(results, _rows(results), strict=True):
        style = {True: "green", False: "bold red", None: None}[result.is_met]
        table.add_row(*row, style=style)
    Console(highlight=False, width=max(console.width, 150)).print(table)


def page(old: str, results: Sequence[Result], machine: Mapping[str, str], size_bytes: int) -> str:
    """docs/reference/benchmarks.md with a new first part."""
    _, mark, contexts = old.partition(_CONTEXTS)
    part = _LOG_PART.format(**_filled(results, machine), size=size_bytes)
    return f"{part}\n{mark}{contexts}" if mark else part


def page_of_contexts(old: str, results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """docs/reference/benchmarks.md with a new second part."""
    log, _, _ = old.partition(_CONTEXTS)
    return f"{log.rstrip()}\n\n{_CONTEXTS_PART.format(**_filled(results, machine))}"


def _filled(results: Sequence[Result], machine: Mapping[str, str]) -> dict[str, str]:
    head = "\n".join(f"- {name}: {text}" for name, text in _head(results, machine).items())
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *map(_line, _rows(results))]
    return {"machine": head, "table": "\n".join(lines)}


def document(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """JSON, with every reading."""
    figures = [
        {
            **asdict(result.figure),
            "values": result.values,
            "median": result.median,
            "is_met": result.is_met,
            "note": result.note,
            "cpu": asdict(result.cost) if result.cost is not None else None,
        }
        for result in results
    ]
    return json.dumps({"machine": _head(results, machine), "figures": figures}, indent=2)


def _head(results: Sequence[Result], machine: Mapping[str, str]) -> dict[str, str]:
    """The machine, and how much of it others took: the more, the less the figures say."""
    parts = [cost.others_part for result in results for cost in result.costs]
    if not parts:
        return dict(machine)
    taken = f"{statistics.median(parts):.0%} of the CPUs (median), {max(parts):.0%} at worst"
    return {**machine, "others took": taken}


def _rows(results: Sequence[Result]) -> list[list[str]]:
    by_key = {result.figure.key: result for result in results}
    return [_row(result, allowed(result, by_key)) for result in results]


def _row(result: Result, raw: float | None) -> list[str]:
    figure, cost = result.figure, result.cost
    target = "" if figure.target is None else f"{'>=' if figure.higher_is_better else '<='} {_number(figure.target)}"
    return [
        f"{figure.title} ({result.note})" if result.note else figure.title,
        f"{_number(result.median)} {figure.unit}",
        f"{_number(min(result.values))} .. {_number(max(result.values))}",
        target,
        _MET[result.is_met],
        "" if raw is None else _number(raw),
        "" if raw is None else f"{result.median / raw:.2f}",
        "" if cost is None else f"{cost.client_us:,.0f} + {cost.leader_us:,.0f} + {cost.followers_us:,.0f}",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
