"""The figures of consensus: timing and bounds, with why each is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_COMMAND_BYTES: Final = 2 * 1024 * 1024
"""A command, encoded. None larger is admitted."""

MAX_ENTRY_BYTES: Final = MAX_COMMAND_BYTES + 64 * 1024
"""An entry, encoded: commands are batched up to here."""

MAX_ENTRY_PROPOSALS: Final = 4096
"""Proposals in one entry."""

APPEND_BATCH_BYTES: Final = 2 * MAX_ENTRY_BYTES
"""Payload of one append_entries message. Above the largest entry, always: an entry that reaches it would be cut in
pieces by pysyncobj, and the last piece can come too early (fault 7 of pysyncobj)."""

FOLLOWER_APPLY_S: Final = 0.01
"""A follower at which no caller waits gathers committed entries for this long, to apply them in one transaction."""

FOLLOWER_APPLY_ENTRIES: Final = 64
"""It gathers no more than these."""

ALONE_PROPOSALS: Final = 2
"""No more than these in the last entry and waiting for the next: callers come one after another."""

GATHER_S: Final = 0.006
"""Else entries are at least this far apart, and one that is on its way is waited for this long: one entry for many
callers costs all nodes what an entry for one caller does."""

GATHER_BYTES: Final = 128 * 1024
"""As much as this does not wait."""

SEND_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Entries on their way to one peer and not answered. Beyond, the leader waits for an answer."""

SEND_WINDOW_TIMEOUT_S: Final = 3.0
"""After this long without an answer, what is on its way counts as lost."""

APPLY_BATCH_ENTRIES: Final = 256
"""Entries handed to the state machine at once, so that catching up does not hold the event loop for long."""

APPLY_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Likewise, in bytes."""

COMMIT_NOTICE_S: Final = 0.005
"""How long followers may not know that an entry is committed, unless one of them waits for it."""

RESIGN_ELECTIONS: Final = 1
"""A member that could take no writes lets the others ask for votes for this many more election timeouts."""

MAX_PENDING_PROPOSALS: Final = 10_000
"""Proposals of this node, and forwarded to it, that wait for their outcome. Beyond, callers are refused: Overloaded."""

MAX_PENDING_BYTES: Final = 64 * 1024 * 1024
"""Likewise, in bytes."""

MAX_INBOX_MESSAGES: Final = 10_000
"""Messages received while a sync runs. Beyond, they are dropped: Raft sends them again."""

MAX_INBOX_BYTES: Final = 32 * 1024 * 1024
"""Likewise, in bytes. It also bounds what one step hands to the disk."""

JOURNAL_TAIL_ENTRIES: Final = 1000
"""Entries that compaction leaves behind the newest, so that a slow follower is served from memory."""

JOURNAL_KEPT_BYTES: Final = 256 * 1024 * 1024
"""What a slow member lacks is kept while the journal is no larger. Beyond, only the tail is, and who lacks more than
that needs a snapshot."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """When elections start and heartbeats go out, and how much goes into a message.

    A follower waits between `election_min_s` and `election_max_s` after the last word of a leader. Who heard from a
    leader within `election_min_s` gives no vote. A leader that a majority has not answered for `election_max_s`
    steps down. An entry is at most half an `append_batch_bytes`, see `APPEND_BATCH_BYTES`.
    """

    heartbeat_s: float = 0.1
    election_min_s: float = 0.5
    election_max_s: float = 1.0
    append_batch_bytes: int = APPEND_BATCH_BYTES
    journal_tail_entries: int = JOURNAL_TAIL_ENTRIES
    journal_kept_bytes: int = JOURNAL_KEPT_BYTES

    @property
    def max_entry_bytes(self) -> int:
        """Commands are batched up to here."""
        return self.append_batch_bytes // 2
