"""Times as they are written on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click


def parse_time(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC, as all that we print. UsageError otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f'"{text}" is no time; write e.g. 2026-01-31T12:00:00Z') from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
