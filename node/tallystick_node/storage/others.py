"""Who works on a database besides the thread that applies, so that they can be held off while its file is replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Others:
    """Counts the others at work. Every method may be called on any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = 0
        self._held_off = False

    @property
    def is_held_off(self) -> bool:
        """Whether who is at work should come to an end."""
        return self._held_off

    @contextmanager
    def at_work(self) -> Iterator[bool]:
        """Work within this. It gives False where work must not begin."""
        with self._changed:
            may_work = not self._held_off
            self._at_work += may_work
        try:
            yield may_work
        finally:
            with self._changed:
                self._at_work -= may_work
                self._changed.notify_all()

    def hold_off(self) -> None:
        """Let no one begin, and wait until no one is at work."""
        with self._changed:
            self._held_off = True
            self._changed.wait_for(lambda: self._at_work == 0)

    def resume(self) -> None:
        """Let others work again."""
        with self._changed:
            self._held_off = False
