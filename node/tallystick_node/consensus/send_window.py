"""How much one peer may be sent before it answers. pysyncobj sends all it has, at once, whatever the answers were.

A peer that answered "that does not fit my log" is probed: one message at a time, until one fits (etcd's StateProbe,
in raft/tracker). Sent a burst instead, it answers each message of it, the answers undo one another, and the place
where the logs part is never found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tallystick_node.consensus.settings import SEND_WINDOW_BYTES, SEND_WINDOW_TIMEOUT_S


@dataclass(slots=True)
class SendWindow:
    """Entries that are on their way to a peer.

    Attributes:
        probing: it is not known what the peer's log holds.
        last_sent_s: when it was sent anything.
    """

    probing: bool = False
    last_sent_s: float = 0.0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)
    """The last index and the size of each message with entries."""
    _used_bytes: int = 0
    _answered_s: float = 0.0

    def sent(self, last_index: int, size_bytes: int, now_s: float) -> None:
        """Counts a message with entries."""
        if not self._sent:
            self._answered_s = now_s
        self._sent.append((last_index, size_bytes))
        self._used_bytes += size_bytes

    def acknowledged(self, index: int, now_s: float) -> None:
        """The peer has its log on disk up to here, and it is ours."""
        self.probing = False
        self._answered_s = now_s
        while self._sent and self._sent[0][0] <= index:
            self._used_bytes -= self._sent.popleft()[1]

    def is_full(self, now_s: float) -> bool:
        """Whether to wait. After long silence what is on its way counts as lost.

        A broken link begins a new window; without one only a peer that was overrun loses messages, so the silence is
        long: a slow peer must not be sent the same again and again.
        """
        if self._sent and now_s - self._answered_s >= SEND_WINDOW_TIMEOUT_S:
            self._sent.clear()
            self._used_bytes = 0
        return bool(self._sent) if self.probing else self._used_bytes >= SEND_WINDOW_BYTES
