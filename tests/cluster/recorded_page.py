"""docs/reference/reliability.md: the figures of the long runs, each between two marks of its own.

Rules of this file:
- A program writes its own section and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.bench.machine import describe

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "reliability.md"


def write_section(name: str, figures: Mapping[str, str], folder: Path) -> None:
    """Puts the figures, and the machine with that folder, between the marks of this name."""
    machine = {title: value for title, value in describe(folder).items() if title != "load"}  # that is of now
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), name, section(figures, machine)), encoding="utf-8")


def section(figures: Mapping[str, str], machine: Mapping[str, str]) -> str:
    """The text of a section: a table, and what it was measured on."""
    rows = ["| figure | |", "|---|---|", *(f"| {title} | {value} |" for title, value in figures.items())]
    return "\n".join([*rows, "", *(f"- {title}: {value}" for title, value in machine.items())])


def replaced(page: str, name: str, text: str) -> str:
    """The page with another text between the marks.

    Raises:
        ValueError: the page has no such marks.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(opening)
    _, found_too, after = rest.partition(closing)
    if not (found and found_too):
        raise ValueError(f"the page has no marks {opening} and {closing}")
    return f"{before}{opening}\n{text}\n{closing}{after}"
