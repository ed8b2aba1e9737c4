"""The use cases of retention, no gRPC: say how much a namespace keeps, see it, pin a checkpoint, remove what may go.

Rules of this file:
- What does not depend on the tables is refused before anything is proposed.
- A compaction is proposed by who has archived what goes; what nothing may lose is checked when it is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick_node.access import Access, ReadFrom
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken
from tallystick_node.core.retention_records import (
    Anchor,
    Compacted,
    CompactLog,
    PinChanged,
    PinCheckpoint,
    RetentionChanged,
    RetentionPolicy,
    RetentionRecord,
    SetRetention,
)
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.retention_reads import RetentionReads
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name


class RetentionStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: RetentionReads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms

    async def set_policy(
        self, namespace: str, policy: RetentionPolicy, *, actor: str, timeout_s: float
    ) -> RetentionChanged:
        """Says how much a namespace keeps of each log; nothing goes at once.

        Raises:
            Refused: Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = SetRetention(self._clock_ms(), namespace, policy, actor)
        return await self._access.decide(encode_command(command), timeout_s, RetentionChanged)

    async def policy(self, namespace: str, read_from: ReadFrom) -> RetentionRecord | None:
        """The policy of a namespace; None: none was ever set.

        Raises:
            Invalid: a bad name.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        await self._access.ready(read_from)
        return self._access.looked_up(lambda: self._reads.policy(namespace))

    async def pin(self, target: Target, name: str, *, is_pinned: bool, actor: str, timeout_s: float) -> PinChanged:
        """Keeps a checkpoint with its state when the mutations around it go; or no longer.

        Raises:
            Refused: NotFound (agent, branch, checkpoint), Compacted (its state is gone), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = PinCheckpoint(self._clock_ms(), target, name, is_pinned, actor)
        return await self._access.decide(encode_command(command), timeout_s, PinChanged)

    async def compact(self, target: Target, below_seq: int, hash_: bytes, *, actor: str, timeout_s: float) -> Compacted:
        """Removes a log's own mutations before a seq, as far as nothing needs them and one command removes. `hash_`: of
        the one before that seq.

        Raises:
            Refused: NotFound, Conflict (another log has the name now), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = CompactLog(self._clock_ms(), target, below_seq, hash_, actor)
        return await self._access.decide(encode_command(command), timeout_s, Compacted)

    def anchor(self, log: LogRecord) -> Anchor | None:
        """Where what is kept of a log's own begins, as this node has applied it; None: it has all of it."""
        return self._access.looked_up(lambda: self._reads.anchor(log))

    def pinned(self, taken: Sequence[CheckpointTaken]) -> frozenset[int]:
        """Which of these checkpoints are pinned, by their positions, as this node has applied it."""
        return self._access.looked_up(lambda: self._reads.pinned(taken))
