"""What retention needs to know of logs, and the parts of them that go to an archive, looked up in small steps.

Rules of this file:
- The loop goes on between two steps, however long a log is. So a log may change meanwhile: what it had behind its
  anchor is the same, or it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tallystick.errors import Compacted, NotFound, Reason
from tallystick_node.access import Access
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.core.retention_records import RetentionPolicy, RetentionRecord
from tallystick_node.core.tables import LogRecord
from tallystick_node.retention.archive_file import ArchivePart
from tallystick_node.retention.plan import Known, Plan, plan, wanted_seq
from tallystick_node.storage.pages import Page
from tallystick_node.storage.reads import AtSeq, AtTime, Reads

PART_MUTATIONS: Final = 2000
"""Mutations that are archived, and removed, in one go: the loop stands still while they are removed."""

PART_BYTES: Final = 8 * 1024 * 1024
"""The same in bytes, serialized, but for the last page of them."""

SIZES_AT_ONCE: Final = 2000
"""Mutations whose sizes are added up between two turns of the loop."""

SIZES: Final = 200_000
"""Mutations of a log that are gone through for their sizes at most; the rest comes with the next plan."""

_PAGE: Final = 200


class Looks:
    """See the module."""

    def __init__(self, access: Access, reads: Reads) -> None:
        self._access = access
        self._reads = reads

    def policies(self) -> Sequence[RetentionRecord]:
        """Those of all namespaces."""
        return self._access.looked_up(self._reads.retention.policies)

    def policy(self, namespace: str) -> RetentionPolicy:
        """That of a namespace; one without bounds where none was set."""
        record = self._access.looked_up(lambda: self._reads.retention.policy(namespace))
        return record.policy if record is not None else RetentionPolicy()

    def logs(self, namespace: str, prefix: str, after: Target | None, limit: int) -> Page[LogRecord]:
        """Logs by agent and branch."""
        return self._access.looked_up(lambda: self._reads.log_lists.logs(namespace, prefix, after, limit))

    async def planned(self, log: LogRecord, policy: RetentionPolicy, now_ms: int) -> Plan:
        """What would go of a log."""
        known = await self._known(log, policy, now_ms)
        if wanted_seq(policy, known) == known.anchor_seq:
            return plan(policy, known, ())
        return plan(policy, known, self._access.looked_up(lambda: self._reads.retention.holds(log.target)))

    async def size_bytes(self, log: LogRecord, after_seq: int, upto_seq: int) -> int:
        """What the mutations behind a seq, up to another, come to."""
        total, at = 0, after_seq
        while at < upto_seq:
            sizes = self._sizes(log, at, min(SIZES_AT_ONCE, upto_seq - at))
            if not sizes:
                break
            total, at = total + sum(sizes), at + len(sizes)
            await asyncio.sleep(0)
        return total

    def checkpoints(self, log: LogRecord, upto_seq: int) -> int:
        """How many checkpoints would go with the mutations up to a seq."""
        return self._access.looked_up(lambda: self._reads.log_lists.loose_checkpoints(log, upto_seq))

    def hash_at(self, target: Target, seq: int) -> bytes:
        """The hash of a mutation.

        Raises:
            Refused: it is not there any more.
        """
        page = self._access.looked_up(lambda: self._reads.mutations(target, seq - 1, 1))
        return _checked(page.items, seq)[0].hash

    async def part(self, target: Target, anchor_seq: int, upto_seq: int) -> ArchivePart:
        """The log behind its anchor and up to a seq, or as much of that as goes into one file.

        Raises:
            Refused: it is not there any more.
        """
        base = self._access.looked_up(lambda: self._reads.read_state(target, AtSeq(anchor_seq)))
        upto_seq = min(upto_seq, anchor_seq + PART_MUTATIONS)
        mutations: list[MutationDecided] = []
        size_bytes, at = 0, anchor_seq
        while at < upto_seq and size_bytes < PART_BYTES:
            await asyncio.sleep(0)
            page = self._mutations(target, at, min(_PAGE, upto_seq - at))
            mutations += page
            size_bytes += sum(len(mutation.raw) for mutation in page)
            at += len(page)
        taken = await self._taken(target, anchor_seq, at)
        return ArchivePart(target, anchor_seq, base.hash, base.state, mutations, taken)

    def _mutations(self, target: Target, after_seq: int, limit: int) -> list[MutationDecided]:
        page = self._access.looked_up(lambda: self._reads.mutations(target, after_seq, limit))
        return _checked(page.items, after_seq + 1)

    async def _taken(self, target: Target, from_seq: int, upto_seq: int) -> list[CheckpointTaken]:
        found: list[CheckpointTaken] = []
        after = 0
        while True:
            page = self._access.looked_up(lambda: self._reads.checkpoints(target, after, _PAGE))  # noqa: B023
            found += [taken for taken in page.items if from_seq <= taken.seq <= upto_seq]
            if not page.more or page.items[-1].seq > upto_seq:
                return found
            after = page.items[-1].position
            await asyncio.sleep(0)

    async def _known(self, log: LogRecord, policy: RetentionPolicy, now_ms: int) -> Known:
        anchor = self._access.looked_up(lambda: self._reads.retention.anchor(log))
        anchor_seq = anchor.point.seq if anchor is not None else log.fork_seq
        kept_bytes = log.log_bytes - (anchor.size_bytes if anchor is not None else 0)
        excess_bytes = kept_bytes - policy.max_log_bytes if policy.max_log_bytes else 0
        return Known(
            log.target,
            anchor_seq,
            log.seq,
            self._old_seq(log.target, now_ms - policy.max_age_s * 1000) if policy.max_age_s else 0,
            await self._excess_seq(log, anchor_seq, excess_bytes) if excess_bytes > 0 else 0,
        )

    def _old_seq(self, target: Target, before_unix_ms: int) -> int:
        try:
            return self._access.looked_up(lambda: self._reads.seq_at(target, AtTime(max(0, before_unix_ms))))
        except Compacted:
            return 0
        except NotFound as error:
            if error.reason is Reason.TIME_NOT_FOUND:
                return 0
            raise

    async def _excess_seq(self, log: LogRecord, anchor_seq: int, excess_bytes: int) -> int:
        at = anchor_seq
        while excess_bytes > 0 and at < anchor_seq + SIZES:
            sizes = self._sizes(log, at, SIZES_AT_ONCE)
            if not sizes:
                break
            for size in sizes:
                at, excess_bytes = at + 1, excess_bytes - size
                if excess_bytes <= 0:
                    break
            await asyncio.sleep(0)
        return at

    def _sizes(self, log: LogRecord, after_seq: int, limit: int) -> list[int]:
        return self._access.looked_up(lambda: self._reads.log_lists.sizes(log, after_seq, limit))


def _checked(mutations: list[MutationDecided], first_seq: int) -> list[MutationDecided]:
    """They begin where they were asked for: else another node compacted the log meanwhile."""
    if not mutations or mutations[0].seq != first_seq:
        raise Compacted(f"mutation {first_seq} is not there any more")
    return mutations
