"""What commands print: tables for people, JSON for programs.

Rules of this file:
- Text that others stored may hold anything. It reaches a terminal only through `printable`, and never as rich markup.
- Colours only on a terminal, and never with NO_COLOR set (rich sees to both); JSON never has any.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallystick_node.cli.printable import printable

_PIPE_WIDTH = 200
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def console() -> Console:
    """Standard output, for people. Made anew for each use: tests and pagers replace the stream."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPE_WIDTH)


def cell(text: object, style: str = "") -> Text:
    """A table cell with text that may come from others, on one line."""
    return Text(printable(str(text)).replace("\n", "\\n"), style=style)


def table(columns: Sequence[str], rows: Sequence[Sequence[Text]], *, title: str | None = None) -> Table:
    """A plain table: a head, rows, no boxes, so that it can be cut and pasted."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def write_json(value: object, *, indent: bool = True) -> None:
    """One JSON document on stdout: indented, or (`indent=False`) one line of JSON Lines."""
    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.write(_escaped(orjson.dumps(value, option=options).decode()))
    sys.stdout.flush()


def _escaped(json_text: str) -> str:
    """The same JSON, what could steer a terminal as \\u escapes: outside of strings only newlines are unprintable."""
    if json_text.isascii():  # orjson escapes what is below a space
        return json_text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in json_text)


def indented_json(value: object) -> str:
    """JSON on many lines, keys as they come."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def compact_json(value: object, limit: int | None = None) -> str:
    """JSON on one line, cut at `limit` characters."""
    text = orjson.dumps(value).decode()
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def size(size_bytes: int) -> str:
    """1536 -> "1.5 KiB"."""
    number = float(size_bytes)
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"


def counted(number: int, thing: str) -> str:
    """1, "payload" -> "1 payload"; of others "payloads"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def clock(time: datetime) -> str:
    """A time as ISO 8601 in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
