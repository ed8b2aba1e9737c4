"""This member's linearizable read: asked of the leader, and asked again where the answer may be lost.

One at a time; those who come meanwhile share the next (`barrier.py`). Its number is never one of an earlier process:
an answer that was on its way to that one does not count for this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READ_RETRY_S: Final = 0.25
"""A leader that has not answered for so long is asked again."""


@dataclass(slots=True)
class OwnRead:
    """See the module. `number` is the newest read's; begin with a random one."""

    number: int
    _is_waiting: bool = False
    _index: int | None = None
    _asked: tuple[str, int] = ("", 0)
    _asked_s: float = 0.0

    def begin(self) -> int:
        """Another read begins, in place of the one before; its number."""
        self.number += 1
        self._is_waiting, self._index, self._asked = True, None, ("", 0)
        return self.number

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._is_waiting = False

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits for it."""
        return self._is_waiting

    @property
    def retry_s(self) -> float:
        """When the leader should be asked (again)."""
        return self._asked_s + READ_RETRY_S if self._is_waiting and self._index is None else float("inf")

    def must_ask(self, leader_id: str, term: int, now_s: float) -> bool:
        """Whether to ask this leader of this term now; if so, it counts as asked."""
        if not self._is_waiting or self._index is not None:
            return False
        if self._asked == (leader_id, term) and now_s < self.retry_s:
            return False
        self._asked, self._asked_s = (leader_id, term), now_s
        return True

    def answered(self, number: int, index: int) -> None:
        """A leader says up to where the log must be applied."""
        if self._is_waiting and number == self.number:
            self._index = index

    def take_ready(self, applied_index: int) -> int | None:
        """The number of the read that may be served now, once."""
        if not self._is_waiting or self._index is None or applied_index < self._index:
            return None
        self._is_waiting = False
        return self.number
