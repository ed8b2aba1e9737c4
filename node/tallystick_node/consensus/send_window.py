"""How much one peer may be sent before it answers. pysyncobj sends all it has, at once, whatever the answers were.

A peer that answered "that does not fit my log" is probed: one message at a time, until one fits (etcd's StateProbe, in
raft/tracker). Sent a burst instead, it answers each message of it, the answers undo one another, and the place where the
logs part is never found.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick_node.consensus.settings import SEND_WINDOW_BYTES, SEND_WINDOW_TIMEOUT_S


@dataclass(slots=True)
class SendWindow:
    """Entries sent to a peer since it last answered.

    Attributes:
        probe_timeout_s: set for a peer that is probed: after this long without an answer it is sent the next message.
    """

    probe_timeout_s: float | None = None
    used_bytes: int = 0
    last_sent_s: float = 0.0

    def sent(self, size_bytes: int, now_s: float) -> None:
        """Counts a message."""
        self.used_bytes += size_bytes
        self.last_sent_s = now_s

    def is_full(self, now_s: float) -> bool:
        """Whether to wait. A window without an answer for too long is open again: what it held may be lost."""
        limit_bytes = SEND_WINDOW_BYTES if self.probe_timeout_s is None else 1
        timeout_s = SEND_WINDOW_TIMEOUT_S if self.probe_timeout_s is None else self.probe_timeout_s
        if self.used_bytes < limit_bytes:
            return False
        if now_s - self.last_sent_s < timeout_s:
            return True
        self.used_bytes = 0
        return False
