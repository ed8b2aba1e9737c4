"""Tallystick: a replicated state store for AI agents.

Example:
    import tallystick
    from tallystick import ops

    async with tallystick.connect("127.0.0.1:7420,127.0.0.1:7430,127.0.0.1:7440", namespace="demo") as client:
        agent = client.agent("migrator")
        snap = await agent.rehydrate()
        await agent.append(ops.set("/next_batch", 2), ops.append("/done", 1), cause="tool:copy#17")
        await agent.checkpoint("batch-1", metadata={"step": 1})
        async for event in client.watch(agent="migrator", after=snap.revision):
            ...

`tallystick.sync.connect` gives the same words for blocking code; `tallystick.errors` says what can go wrong.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from tallystick._version import __version__
from tallystick.errors import (
    AlreadyExists,
    Compacted,
    Conflict,
    Corrupt,
    Denied,
    Invalid,
    NoLeader,
    NotFound,
    Overloaded,
    QuotaExceeded,
    Reason,
    Refused,
    StaleOwner,
    TallystickError,
    Unavailable,
    Undecided,
)

if TYPE_CHECKING:
    from tallystick import contexts, history, ops, schemas, steps, sync
    from tallystick._agent import Agent
    from tallystick._client import Client, connect
    from tallystick._events import (
        BranchDeletedEvent,
        CheckpointEvent,
        CompactedEvent,
        ContextChange,
        ContextEvent,
        DeletedEvent,
        Event,
        ForkedEvent,
        LeaseEvent,
        MutationEvent,
        PinnedEvent,
        RetentionEvent,
        SchemaEvent,
        TeamCheckpointDeletedEvent,
        TeamCheckpointEvent,
    )
    from tallystick._infos import AgentInfo, BranchInfo, ContextInfo, LeaseChange, LeaseInfo
    from tallystick._json import JSON, JSONLike
    from tallystick._members import Members
    from tallystick._payload_ref import PayloadRef
    from tallystick._status import ContextsStatus, EndpointStatus, Member, MemberInfo, NodeStatus, RetentionStatus, Role
    from tallystick._stream import AppendStream, PendingAppend
    from tallystick._tls import TLS
    from tallystick._values import (
        Appended,
        Checkpoint,
        Consistency,
        DecidedMutation,
        Mutation,
        Operation,
        OperationKind,
        Revision,
        Snapshot,
        StateDigest,
    )
    from tallystick.causality.values import (
        CausalRelation,
        ChangedContext,
        ChangedLog,
        ChangeKind,
        Changes,
        Comparison,
        Evidence,
        LogPoint,
        Observed,
        ObservedContext,
        ObservedLog,
    )
    from tallystick.contexts.context import Context
    from tallystick.contexts.cursor import Cursor
    from tallystick.history.history import History, MergeResult
    from tallystick.leases.lease import Lease
    from tallystick.payloads.payloads import Payloads
    from tallystick.payloads.values import PayloadInfo, PayloadProgress
    from tallystick.retention.retention import Retention
    from tallystick.retention.values import (
        RetainedLog,
        RetentionHeld,
        RetentionHold,
        RetentionInfo,
        RetentionPlan,
        RetentionPolicy,
    )
    from tallystick.schemas.registry import Schemas
    from tallystick.schemas.values import Schema
    from tallystick.steps.steps import Steps
    from tallystick.steps.turn import Turn
    from tallystick.steps.values import Happened, Step, StepStatus
    from tallystick.supervising import Supervisor, supervise
    from tallystick.teams.team import Team
    from tallystick.teams.transaction import TeamTransaction
    from tallystick.teams.values import TeamCheckpoint, TeamState, Transacted

# Read when first asked for: whoever needs the errors alone, as the node does, does not load gRPC.
_SUBMODULES: Final = frozenset({"contexts", "history", "ops", "schemas", "steps", "sync"})
_NAMES: Final = {
    "_agent": ("Agent",),
    "_client": ("Client", "connect"),
    "_json": ("JSON", "JSONLike"),
    "_members": ("Members",),
    "_payload_ref": ("PayloadRef",),
    "_status": ("ContextsStatus", "EndpointStatus", "Member", "MemberInfo", "NodeStatus", "RetentionStatus", "Role"),
    "_stream": ("AppendStream", "PendingAppend"),
    "_tls": ("TLS",),
    "causality.values": (
        "CausalRelation",
        "ChangeKind",
        "ChangedContext",
        "ChangedLog",
        "Changes",
        "Comparison",
        "Evidence",
        "LogPoint",
        "Observed",
        "ObservedContext",
        "ObservedLog",
    ),
    "contexts.context": ("Context",),
    "contexts.cursor": ("Cursor",),
    "leases.lease": ("Lease",),
    "retention.retention": ("Retention",),
    "retention.values": (
        "RetainedLog",
        "RetentionHeld",
        "RetentionHold",
        "RetentionInfo",
        "RetentionPlan",
        "RetentionPolicy",
    ),
    "schemas.registry": ("Schemas",),
    "schemas.values": ("Schema",),
    "history.history": ("History", "MergeResult"),
    "payloads.payloads": ("Payloads",),
    "payloads.values": ("PayloadInfo", "PayloadProgress"),
    "supervising": ("Supervisor", "supervise"),
    "steps.steps": ("Steps",),
    "steps.turn": ("Turn",),
    "steps.values": ("Happened", "Step", "StepStatus"),
    "teams.team": ("Team",),
    "teams.transaction": ("TeamTransaction",),
    "teams.values": ("TeamCheckpoint", "TeamState", "Transacted"),
    "_events": (
        "BranchDeletedEvent",
        "CheckpointEvent",
        "CompactedEvent",
        "ContextChange",
        "ContextEvent",
        "DeletedEvent",
        "Event",
        "ForkedEvent",
        "LeaseEvent",
        "MutationEvent",
        "TeamCheckpointDeletedEvent",
        "SchemaEvent",
        "PinnedEvent",
        "RetentionEvent",
        "TeamCheckpointEvent",
    ),
    "_infos": (
        "AgentInfo",
        "BranchInfo",
        "ContextInfo",
        "LeaseChange",
        "LeaseInfo",
    ),
    "_values": (
        "Appended",
        "Checkpoint",
        "Consistency",
        "DecidedMutation",
        "Mutation",
        "Operation",
        "OperationKind",
        "Revision",
        "Snapshot",
        "StateDigest",
    ),
}
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return importlib.import_module(f"tallystick.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tallystick' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"tallystick.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "JSON",
    "TLS",
    "Agent",
    "AgentInfo",
    "AlreadyExists",
    "AppendStream",
    "Appended",
    "BranchDeletedEvent",
    "BranchInfo",
    "CausalRelation",
    "ChangeKind",
    "ChangedContext",
    "ChangedLog",
    "Changes",
    "Checkpoint",
    "CheckpointEvent",
    "Client",
    "Compacted",
    "CompactedEvent",
    "Comparison",
    "Conflict",
    "Consistency",
    "Context",
    "ContextChange",
    "ContextEvent",
    "ContextInfo",
    "ContextsStatus",
    "Corrupt",
    "Cursor",
    "DecidedMutation",
    "DeletedEvent",
    "Denied",
    "EndpointStatus",
    "Event",
    "Evidence",
    "ForkedEvent",
    "Happened",
    "History",
    "Invalid",
    "JSONLike",
    "Lease",
    "LeaseChange",
    "LeaseEvent",
    "LeaseInfo",
    "LogPoint",
    "Member",
    "MemberInfo",
    "Members",
    "MergeResult",
    "Mutation",
    "MutationEvent",
    "NoLeader",
    "NodeStatus",
    "NotFound",
    "Observed",
    "ObservedContext",
    "ObservedLog",
    "Operation",
    "OperationKind",
    "Overloaded",
    "PayloadInfo",
    "PayloadProgress",
    "PayloadRef",
    "Payloads",
    "PendingAppend",
    "PinnedEvent",
    "QuotaExceeded",
    "Reason",
    "Refused",
    "RetainedLog",
    "Retention",
    "RetentionEvent",
    "RetentionHeld",
    "RetentionHold",
    "RetentionInfo",
    "RetentionPlan",
    "RetentionPolicy",
    "RetentionStatus",
    "Revision",
    "Role",
    "Schema",
    "SchemaEvent",
    "Schemas",
    "Snapshot",
    "StaleOwner",
    "StateDigest",
    "Step",
    "StepStatus",
    "Steps",
    "Supervisor",
    "TallystickError",
    "Team",
    "TeamCheckpoint",
    "TeamCheckpointDeletedEvent",
    "TeamCheckpointEvent",
    "TeamState",
    "TeamTransaction",
    "Transacted",
    "Turn",
    "Unavailable",
    "Undecided",
    "__version__",
    "connect",
    "contexts",
    "history",
    "ops",
    "schemas",
    "steps",
    "supervise",
    "sync",
]
