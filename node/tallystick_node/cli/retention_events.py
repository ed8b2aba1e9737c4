"""What a watch tells of retention, as records and as lines."""

from __future__ import annotations

from typing import TypeAlias

from tallystick import CompactedEvent, PinnedEvent, RetentionEvent
from tallystick_node.cli.output import clock

Retained: TypeAlias = CompactedEvent | PinnedEvent | RetentionEvent


def record(event: Retained) -> dict[str, object]:
    """What was decided; `type` is compacted, pinned or retention."""
    common: dict[str, object] = {"actor": event.actor, "time": clock(event.time), "revision": str(event.revision)}
    if isinstance(event, RetentionEvent):
        policy: dict[str, object] = {
            "max_age_s": event.max_age_s,
            "max_mutations": event.max_mutations,
            "max_log_bytes": event.max_log_bytes,
            "archive": event.archive or None,
        }
        return {"type": "retention", **policy, **common}
    named: dict[str, object] = {"agent": event.agent, "branch": event.branch}
    if isinstance(event, PinnedEvent):
        pinned: dict[str, object] = {"checkpoint": event.name, "seq": event.seq, "is_pinned": event.is_pinned}
        return {"type": "pinned", **named, **pinned, **common}
    return {
        "type": "compacted",
        **named,
        "anchor_seq": event.anchor_seq,
        "hash": event.hash.hex(),
        "mutations": event.mutations,
        "checkpoints": event.checkpoints,
        **common,
    }


def line(event: Retained) -> str:
    """The same for people."""
    if isinstance(event, RetentionEvent):
        return f"retention set by {event.actor or '-'}  {clock(event.time)}"
    if isinstance(event, PinnedEvent):
        return f"checkpoint {event.name} {'pinned' if event.is_pinned else 'unpinned'}  {clock(event.time)}"
    return f"{event.mutations} mutations up to {event.anchor_seq} went  {clock(event.time)}"
