"""Retention in core's tables in dicts: all mutations stay, and what went is only said to have."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.core.retention_records import (
    Anchor,
    CheckpointPinned,
    KeptState,
    LogCompacted,
    Point,
    RetentionRecord,
)
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json

if TYPE_CHECKING:
    from tests.unit.core_tables import MemoryTables


class MemoryRetention:
    """An implementation of `tallystick_node.core.retention_records.RetentionTables`."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self.policies: dict[str, RetentionRecord] = {}
        self.anchors: dict[int, Anchor] = {}
        self.kept: dict[tuple[int, int], KeptState] = {}
        self.pins: set[int] = set()
        self.gone: set[int] = set()

    def policy(self, namespace: str) -> RetentionRecord | None:
        return self.policies.get(namespace)

    def save_policy(self, record: RetentionRecord) -> None:
        self.policies[record.namespace] = record

    def anchor(self, log: LogRecord) -> Anchor | None:
        return self.anchors.get(log.number)

    def oldest(self, log: LogRecord) -> Anchor | None:
        for each, last_seq in self._tables.branches.line(log):
            anchor = self.anchors.get(each.number)
            if anchor is not None and anchor.point.seq <= last_seq:
                return anchor
        return None

    def is_readable(self, log: LogRecord, seq: int) -> bool:
        return self._is_whole_from(log, seq) or self._lone(log, seq) is not None

    def is_lone(self, log: LogRecord, seq: int) -> bool:
        return not self._is_whole_from(log, seq) and self._lone(log, seq) is not None

    def state(self, log: LogRecord, seq: int) -> KeptState:
        lone = self._lone(log, seq)
        if lone is not None:
            return lone
        mutations = [event for event in self._tables.branches.mutations(log) if event.seq <= seq]
        state = canonical_json(self._tables.replayed(mutations).root)
        last = mutations[-1] if mutations else None
        point = Point(seq, last.position, last.time_unix_ms, last.hash) if last else Point(0, 0, 0, NO_HASH)
        return KeptState(point, hashlib.sha256(state).digest(), state)

    def users(self, log: LogRecord) -> list[tuple[LogRecord, int]]:
        found = []
        for user in sorted(self._tables.logs.values(), key=lambda each: each.number):
            for each, last_seq in self._tables.branches.line(user):
                if each.number == log.number:
                    found.append((user, last_seq))
                    break
                anchor = self.anchors.get(each.number)
                if anchor is not None and anchor.point.seq <= last_seq:
                    break
        return found

    def named(self, log: LogRecord, seqs: tuple[int, int]) -> list[int]:
        own = self._own_checkpoints(log)
        found = {taken.seq for taken in own if taken.position in self.pins and seqs[0] <= taken.seq < seqs[1]}
        hashes = {event.seq: event.hash for event in self._tables.branches.mutations(log)} | {0: NO_HASH}
        for record in self._tables.teams.records.values():
            for member in record.members:
                named = (record.namespace, member.agent, member.branch)
                if named == log.target and seqs[0] <= member.seq < seqs[1]:
                    found |= {member.seq} if hashes.get(member.seq) == member.hash else set()
        for other in self._tables.logs.values():
            if other.number != log.number:
                line = self._tables.branches.line(other)
                found |= {seq for each, seq in line if each.number == log.number and seqs[0] <= seq < seqs[1]}
        return sorted(found)

    def is_kept(self, log: LogRecord, seq: int) -> bool:
        return (log.number, seq) in self.kept

    def keep(self, log: LogRecord, kept: KeptState) -> None:
        self.kept[log.number, kept.point.seq] = kept

    def staying(self, log: LogRecord, below: int) -> list[int]:
        seqs = {seq for number, seq in self.kept if number == log.number}
        seqs |= {taken.seq for taken in self._own_checkpoints(log)}
        attempts = self._tables.steps.attempts.items()
        seqs |= {record.ended_seq for at, record in attempts if at[0] == log.number and record.ended_seq}
        return [seq for seq in seqs if seq < below]

    def reach(self, log: LogRecord, upto: int, size_bytes: int) -> int:
        anchor = self.anchors.get(log.number)
        gone = anchor.point.seq if anchor is not None else 0
        own = [event for event in self._own_mutations(log) if gone < event.seq <= upto]
        fits = [event.seq for at, event in enumerate(own) if sum(len(each.raw) for each in own[: at + 1]) <= size_bytes]
        return max([own[0].seq, *fits])

    def weigh(self, log: LogRecord, seq: int) -> tuple[int, int]:
        anchor = self.anchors.get(log.number)
        first = anchor.point.seq if anchor is not None else 0
        own = [event for event in self._own_mutations(log) if first < event.seq <= seq]
        return sum(len(event.raw) for event in own), own[0].position

    def compact(self, log: LogRecord, anchor: Anchor) -> int:
        self.anchors[log.number] = anchor
        keyed = {known.position for _, known in self._tables.keys.get(log.number, {}).values()}
        went = [
            taken
            for taken in self._own_checkpoints(log)
            if taken.seq < anchor.point.seq and taken.position not in self.pins | keyed
        ]
        stays = set(self.named(log, (0, anchor.point.seq))) | {anchor.point.seq}
        self.kept = {at: kept for at, kept in self.kept.items() if at[0] != log.number or at[1] in stays}
        self.gone |= {taken.position for taken in went}
        for target, each in list(self._tables.logs.items()):
            if each.checkpoint in {taken.name for taken in went}:
                newest = self.newest_checkpoint(each)
                self._tables.logs[target] = replace(each, checkpoint=newest.name if newest is not None else "")
        return len(went)

    def save_anchor(self, log: LogRecord, anchor: Anchor) -> None:
        self.anchors[log.number] = anchor

    def checkpoint(self, log: LogRecord, name: str) -> CheckpointTaken | None:
        return next((taken for taken in self._tables.branches.checkpoints(log) if taken.name == name), None)

    def newest_checkpoint(self, log: LogRecord) -> CheckpointTaken | None:
        taken = self._tables.branches.checkpoints(log)
        return taken[-1] if taken else None

    def is_pinned(self, taken: CheckpointTaken) -> bool:
        return taken.position in self.pins

    def save_pin(self, log: LogRecord, taken: CheckpointTaken, event: CheckpointPinned) -> None:
        (self.pins.add if event.is_pinned else self.pins.discard)(taken.position)
        self._tables.add_of_log(log.number, event)

    def add_compaction(self, log: LogRecord, event: LogCompacted) -> None:
        self._tables.add_of_log(log.number, event)

    def last_turn_end(self, log: LogRecord) -> int:
        for each, last_seq in self._tables.branches.line(log):
            ends = [turn.ended_seq for at, turn in self._tables.steps.turns.items() if at[0] == each.number]
            ended = [end for end in ends if 0 < end <= last_seq]
            if ended:
                return max(ended)
        return 0

    def went(self, log_number: int, event: MutationDecided) -> bool:
        """Whether nothing is left of a mutation that is still in the list of events."""
        anchor = self.anchors.get(log_number)
        keyed = {known.position for _, known in self._tables.keys.get(log_number, {}).values()}
        ends = {record.ended_position for record in self._tables.steps.attempts.values()}
        return anchor is not None and event.seq <= anchor.point.seq and event.position not in keyed | ends

    def _is_whole_from(self, log: LogRecord, seq: int) -> bool:
        (covering,) = [each for each, last_seq in self._tables.branches.line(log) if _leads_to(each, last_seq, seq)]
        anchor = self.anchors.get(covering.number)
        return anchor is None or seq >= anchor.point.seq

    def _lone(self, log: LogRecord, seq: int) -> KeptState | None:
        for each, last_seq in self._tables.branches.line(log):
            if (each.number, seq) in self.kept and seq <= last_seq:
                return self.kept[each.number, seq]
        return None

    def _own_mutations(self, log: LogRecord) -> list[MutationDecided]:
        numbered = zip(self._tables.events, self._tables.of_log, strict=True)
        return [event for event, number in numbered if number == log.number and isinstance(event, MutationDecided)]

    def _own_checkpoints(self, log: LogRecord) -> list[CheckpointTaken]:
        numbered = zip(self._tables.events, self._tables.of_log, strict=True)
        own = [event for event, number in numbered if number == log.number and isinstance(event, CheckpointTaken)]
        return [taken for taken in own if taken.position not in self.gone]


def _leads_to(log: LogRecord, last_seq: int, seq: int) -> bool:
    return (log.fork_seq < seq <= last_seq) or (seq == 0 and not log.parent)
