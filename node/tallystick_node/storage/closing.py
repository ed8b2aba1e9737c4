"""What was opened and cannot be used is closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Closable(Protocol):
    """Something that is open."""

    def close(self) -> None:
        """Ends it."""
        ...


ClosableT = TypeVar("ClosableT", bound=Closable)


@contextmanager
def closed_on_error(opened: ClosableT) -> Iterator[ClosableT]:
    """Closes it if the block raises; else whoever gets it does.

    Example:
        with closed_on_error(Sql(path, busy_timeout_s=1)) as sql:
            prepare(sql)
            return sql
    """
    is_good = False
    try:
        yield opened
        is_good = True
    finally:
        if not is_good:
            opened.close()
