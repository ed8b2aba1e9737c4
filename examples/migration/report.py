"""The demonstration on a screen: a bar and colours on a terminal, plain lines elsewhere; one JSON object on demand."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from examples.migration.timeline import Kind, Moment, Timeline

_STYLES: Final = {Kind.NEWS: "", Kind.FAILURE: "bold red", Kind.RECOVERY: "bold green"}
_PLAIN_WIDTH: Final = 120
_PLAIN_EVERY: Final = 10


class Report:
    """Shows a timeline as it grows, and what came of it."""

    def __init__(self, timeline: Timeline, *, as_json: bool) -> None:
        self._timeline = timeline
        self._as_json = as_json
        self._console = Console(quiet=as_json, highlight=False)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH
        columns = (TextColumn("batches"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("batches", total=timeline.batches)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, what: str, kind: Kind = Kind.NEWS) -> None:
        """Adds a moment, and shows it."""
        moment = Moment(self._timeline.elapsed_s, kind, what)
        self._timeline.moments.append(moment)
        self._console.print(_line(moment), soft_wrap=True)

    def batches_done(self, count: int) -> None:
        """Shows how far the migration is."""
        self._bar.update(self._task, completed=count)
        if not self._console.is_terminal and count % _PLAIN_EVERY == 0:
            self._console.print(f"{self._timeline.elapsed_s:7.2f} s  {count} of {self._timeline.batches} batches")

    def conclude(self) -> None:
        """The timeline again, the checks, and the verdict."""
        if self._as_json:
            print(json.dumps(self._timeline.to_json()))
            return
        self._console.print(self._times(), self._checks())
        verdict = "all of it holds" if self._timeline.ok else "NOT all of it holds"
        style = "bold green" if self._timeline.ok else "bold red"
        self._console.print(Text(f"{verdict}, after {self._timeline.elapsed_s:.1f} s", style=style))

    def _times(self) -> Table:
        table = Table(title="Timeline", title_justify="left")
        table.add_column("s", justify="right")
        table.add_column("what")
        for moment in self._timeline.moments:
            style = _STYLES[moment.kind]
            table.add_row(Text(f"{moment.at_s:.2f}", style=style), Text(moment.what, style=style))
        return table

    def _checks(self) -> Table:
        table = Table(title="Verified", title_justify="left")
        for column in ("", "what", "figures"):
            table.add_column(column)
        for check in self._timeline.checks:
            mark = Text("yes", style="green") if check.ok else Text("NO", style="bold red")
            table.add_row(mark, Text(check.name), Text(check.detail))
        return table


def _line(moment: Moment) -> Text:
    return Text(f"{moment.at_s:7.2f} s  {moment.what}", style=_STYLES[moment.kind])
