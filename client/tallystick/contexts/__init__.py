"""Shared contexts as an agent holds them: live local replicas of documents. DESIGN.md says how they are held."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tallystick.contexts.audience import Told
    from tallystick.contexts.changes import Author, Change, ChangeKind, Lagged
    from tallystick.contexts.context import Ack, Context
    from tallystick.contexts.cursor import Cursor
    from tallystick.contexts.presence import Presence, Present
    from tallystick.contexts.records import (
        BlameLine,
        Compaction,
        ContextMeasure,
        Edit,
        NodeDigest,
        Overlap,
        Verified,
        Version,
    )
    from tallystick.contexts.refusals import Refusal
    from tallystick.contexts.resolving import KEEP_BOTH, KeepBoth
    from tallystick.contexts.stored import StoredContext
    from tallystick.contexts.transacting import Transaction
    from tallystick.contexts.views import (
        BoardView,
        Claim,
        ClaimInfo,
        CounterView,
        ListView,
        MapView,
        RegisterView,
        SetView,
        TextView,
        Value,
        ValueLike,
    )

# Read when first asked for: a part of it that needs no pycrdt loads none.
_NAMES: Final = {
    "audience": ("Told",),
    "changes": ("Author", "Change", "ChangeKind", "Lagged"),
    "context": ("Ack", "Context"),
    "cursor": ("Cursor",),
    "presence": ("Presence", "Present"),
    "records": (
        "BlameLine",
        "Compaction",
        "ContextMeasure",
        "Edit",
        "NodeDigest",
        "Overlap",
        "Verified",
        "Version",
    ),
    "refusals": ("Refusal",),
    "resolving": ("KEEP_BOTH", "KeepBoth"),
    "stored": ("StoredContext",),
    "transacting": ("Transaction",),
    "views": (
        "BoardView",
        "Claim",
        "ClaimInfo",
        "CounterView",
        "ListView",
        "MapView",
        "RegisterView",
        "SetView",
        "TextView",
        "Value",
        "ValueLike",
    ),
}
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tallystick.contexts' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"tallystick.contexts.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "KEEP_BOTH",
    "Ack",
    "Author",
    "BlameLine",
    "BoardView",
    "Change",
    "ChangeKind",
    "Claim",
    "ClaimInfo",
    "Compaction",
    "Context",
    "ContextMeasure",
    "CounterView",
    "Cursor",
    "Edit",
    "KeepBoth",
    "Lagged",
    "ListView",
    "MapView",
    "NodeDigest",
    "Overlap",
    "Presence",
    "Present",
    "Refusal",
    "RegisterView",
    "SetView",
    "StoredContext",
    "TextView",
    "Told",
    "Transaction",
    "Value",
    "ValueLike",
    "Verified",
    "Version",
]
