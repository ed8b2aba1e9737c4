"""What golden scripts of the state machine say of retention: see `test_core_scripts.py`."""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import (
    Compacted,
    CompactLog,
    PinChanged,
    PinCheckpoint,
    RetentionChanged,
    RetentionCommand,
    RetentionOutcome,
    RetentionPolicy,
    SetRetention,
)
from tests.unit.core_tables import MemoryTables

RETENTION_VERBS: Final = {"retain", "compact", "pin", "unpin"}


def retention_command(tables: MemoryTables, verb: str, words: list[str]) -> RetentionCommand:
    """`retain NAMESPACE MUTATIONS [archive=A]`, `compact AGENT BELOW [hash=wrong]`, `pin AGENT NAME`, `unpin ...`.

    `branch=B` and `time=T` fit each that names an agent.
    """
    options = dict(word.split("=", 1) for word in words if "=" in word)
    first, last = [word for word in words if "=" not in word]
    time_unix_ms = int(options.get("time", "1000"))
    target = Target("demo", first, options.get("branch", "main"))
    match verb:
        case "retain":
            policy = RetentionPolicy(max_mutations=int(last), archive=options.get("archive", ""))
            return SetRetention(time_unix_ms, first, policy, "me")
        case "compact":
            log = tables.log(target)
            hash_ = tables.branches.hash_at(log, int(last) - 1) if log is not None else b""
            return CompactLog(time_unix_ms, target, int(last), options.get("hash", "").encode() or hash_, "me")
        case _:
            return PinCheckpoint(time_unix_ms, target, last, verb == "pin", "me")


def show_retention(done: RetentionOutcome) -> str:
    match done:
        case RetentionChanged():
            text = f"{done.record.namespace} keeps {done.record.policy.max_mutations}, time {done.record.time_unix_ms}"
            return f"{text}, at {done.position}" + (" (replayed)" if done.replayed else "")
        case PinChanged():
            text = f"{'pinned' if done.is_pinned else 'unpinned'} {done.seq}, at {done.position}"
            return text + (" (replayed)" if done.replayed else "")
        case Compacted():
            held = "".join(f", {hold.kind.name.lower()} {hold.detail} holds {hold.seq}" for hold in done.held)
            gone = f"{done.mutations} went with {done.checkpoints} checkpoints" if done.mutations else "nothing went"
            return f"anchor {done.anchor_seq}, {gone}, at {done.position}{held}"
