"""What can go wrong, as one table for both ends of the wire.

    TallystickError
    ├── Refused            decided: no. Unchanged, the same request will be refused again
    │   ├── NotFound
    │   ├── AlreadyExists
    │   ├── Conflict       the log does not end at `expected_seq`
    │   ├── StaleOwner     a newer epoch holds the lease
    │   ├── Invalid        the request breaks a rule or a limit
    │   ├── Compacted      the cursor is older than what is kept
    │   ├── Denied
    │   └── QuotaExceeded
    ├── Unavailable        this attempt did nothing: safe to retry
    │   ├── NoLeader
    │   └── Overloaded
    ├── Undecided          the outcome is not known: ask again with the same key
    └── Corrupt            stored data is damaged: the node stops and says where

Rules of this file:
- A reason code is what programs match; the text is for people and may change.
- Each reason belongs to one class and travels as one gRPC status; a new reason is a new row of `REASONS`.
- It imports nothing but the standard library: the node shares it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

ERROR_DOMAIN: Final = "tallystick"
"""`google.rpc.ErrorInfo.domain` of every error of ours."""


class Reason(enum.StrEnum):
    """The reason codes, as they travel in `google.rpc.ErrorInfo.reason`."""

    AGENT_NOT_FOUND = "AGENT_NOT_FOUND"
    BRANCH_NOT_FOUND = "BRANCH_NOT_FOUND"
    CHECKPOINT_NOT_FOUND = "CHECKPOINT_NOT_FOUND"
    SEQ_NOT_FOUND = "SEQ_NOT_FOUND"
    TIME_NOT_FOUND = "TIME_NOT_FOUND"
    CHECKPOINT_EXISTS = "CHECKPOINT_EXISTS"
    TEAM_CHECKPOINT_NOT_FOUND = "TEAM_CHECKPOINT_NOT_FOUND"
    TEAM_CHECKPOINT_EXISTS = "TEAM_CHECKPOINT_EXISTS"
    BRANCH_EXISTS = "BRANCH_EXISTS"
    MEMBER_NOT_FOUND = "MEMBER_NOT_FOUND"
    MEMBER_EXISTS = "MEMBER_EXISTS"
    CONTEXT_NOT_FOUND = "CONTEXT_NOT_FOUND"
    VERSION_NOT_FOUND = "VERSION_NOT_FOUND"
    CONTEXT_EXISTS = "CONTEXT_EXISTS"
    VERSION_EXISTS = "VERSION_EXISTS"
    SEQ_CONFLICT = "SEQ_CONFLICT"
    MERGE_CONFLICT = "MERGE_CONFLICT"
    EPOCH_CONFLICT = "EPOCH_CONFLICT"
    BRANCH_IN_USE = "BRANCH_IN_USE"
    WRITER_IN_USE = "WRITER_IN_USE"
    TASK_CLAIMED = "TASK_CLAIMED"
    LEASE_HELD = "LEASE_HELD"
    PAYLOAD_NOT_FOUND = "PAYLOAD_NOT_FOUND"
    CHUNK_MISSING = "CHUNK_MISSING"
    STEP_NOT_FOUND = "STEP_NOT_FOUND"
    STEP_CONFLICT = "STEP_CONFLICT"
    STEP_AMBIGUOUS = "STEP_AMBIGUOUS"
    STEP_FAILED = "STEP_FAILED"
    TURN_CONFLICT = "TURN_CONFLICT"
    SCHEMA_NOT_FOUND = "SCHEMA_NOT_FOUND"
    SCHEMA_CONFLICT = "SCHEMA_CONFLICT"
    STATE_VERSION = "STATE_VERSION"
    STALE_OWNER = "STALE_OWNER"
    INVALID_NAME = "INVALID_NAME"
    INVALID_JSON = "INVALID_JSON"
    INVALID_POINTER = "INVALID_POINTER"
    INVALID_OPERATION = "INVALID_OPERATION"
    INVALID_REQUEST = "INVALID_REQUEST"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    KEY_REUSED = "KEY_REUSED"
    MALFORMED_UPDATE = "MALFORMED_UPDATE"
    FOREIGN_WRITER = "FOREIGN_WRITER"
    TYPE_CLASH = "TYPE_CLASH"
    INVALID_VALUE = "INVALID_VALUE"
    SCHEMA_VIOLATION = "SCHEMA_VIOLATION"
    SCHEMA_INCOMPATIBLE = "SCHEMA_INCOMPATIBLE"
    COMPACTED = "COMPACTED"
    DENIED = "DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    STATE_QUOTA = "STATE_QUOTA"
    BRANCH_QUOTA = "BRANCH_QUOTA"
    TEAM_QUOTA = "TEAM_QUOTA"
    CONTEXT_QUOTA = "CONTEXT_QUOTA"
    WRITERS_QUOTA = "WRITERS_QUOTA"
    LEASE_QUOTA = "LEASE_QUOTA"
    PAYLOAD_QUOTA = "PAYLOAD_QUOTA"
    SCHEMA_QUOTA = "SCHEMA_QUOTA"
    CONNECTION_QUOTA = "CONNECTION_QUOTA"
    PRESENCE_QUOTA = "PRESENCE_QUOTA"
    INVALID_MEMBERS = "INVALID_MEMBERS"
    NO_LEADER = "NO_LEADER"
    BEHIND = "BEHIND"
    MEMBER_CHANGE_PENDING = "MEMBER_CHANGE_PENDING"
    LEARNER_BEHIND = "LEARNER_BEHIND"
    CONTEXT_SEALED = "CONTEXT_SEALED"
    CONTEXT_DAMAGED = "CONTEXT_DAMAGED"
    WORKER_DOWN = "WORKER_DOWN"
    UNREACHABLE = "UNREACHABLE"
    STOPPING = "STOPPING"
    OVERLOADED = "OVERLOADED"
    DISK_FULL = "DISK_FULL"
    UNDECIDED = "UNDECIDED"
    CORRUPT = "CORRUPT"
    INTERNAL = "INTERNAL"


class TallystickError(Exception):
    """Any error of Tallystick.

    Attributes:
        reason: the code to match on.
        metadata: details by name, all strings, e.g. `{"head_seq": "17"}` with `SEQ_CONFLICT`.
        advice: what the caller should do next, in one sentence.
    """

    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self, message: str, *, reason: Reason | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason: Reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])

    @property
    def advice(self) -> str:
        """What the caller should do next."""
        return REASONS[self.reason].advice

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"


class Refused(TallystickError):
    """Decided: no. The same request, unchanged, will be refused again. Nothing was changed."""

    default_reason = Reason.INVALID_REQUEST


class NotFound(Refused):
    """The agent, branch, checkpoint, seq, time, context, version or payload does not exist."""

    default_reason = Reason.AGENT_NOT_FOUND


class AlreadyExists(Refused):
    """The name is taken by something else."""

    default_reason = Reason.CHECKPOINT_EXISTS


class Conflict(Refused):
    """Another was here: the log does not end at the expected seq (`metadata["head_seq"]` says where), or the like."""

    default_reason = Reason.SEQ_CONFLICT


class StaleOwner(Refused):
    """The write does not carry the epoch of the lease that is held: another took over, or the lease ended."""

    default_reason = Reason.STALE_OWNER


class Invalid(Refused):
    """The request breaks a rule or a limit; `metadata` names the field and the limit."""

    default_reason = Reason.INVALID_REQUEST


class Compacted(Refused):
    """What is asked for went: of a watch, `metadata["oldest"]` is the oldest revision left; of a log,
    `metadata["oldest_seq"]` is the oldest seq whose state and followers are kept."""

    default_reason = Reason.COMPACTED


class Denied(Refused):
    """The caller may not do this."""

    default_reason = Reason.DENIED


class QuotaExceeded(Refused):
    """A limit of the namespace or of the agent is reached."""

    default_reason = Reason.STATE_QUOTA


class Unavailable(TallystickError):
    """This attempt did nothing. Retry, here or at another node."""

    default_reason = Reason.UNREACHABLE


class NoLeader(Unavailable):
    """No majority answers at the moment."""

    default_reason = Reason.NO_LEADER


class Overloaded(Unavailable):
    """The node has no room for this now: too much in flight, or its disk is full."""

    default_reason = Reason.OVERLOADED


class Undecided(TallystickError):
    """The outcome is not known. Ask again with the same idempotency key: it has one effect."""

    default_reason = Reason.UNDECIDED


class Corrupt(TallystickError):
    """Stored data is damaged, or replicas differ. The node stops and says where."""

    default_reason = Reason.CORRUPT


class StatusCode(enum.IntEnum):
    """gRPC's codes, by their numbers on the wire, so that this file needs no gRPC."""

    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the class a reason raises, the status it travels as, what the caller should do."""

    error: type[TallystickError]
    status: StatusCode
    advice: str


_CHECK = "Check the name; `tallystick agent list` lists what there is."
_FIX = "Correct the request; the message and the metadata name the field and its limit."
_RETRY = "Retry, here or at another node; the client does so until its deadline."

REASONS: Final[Mapping[Reason, Row]] = {
    Reason.AGENT_NOT_FOUND: Row(NotFound, StatusCode.NOT_FOUND, _CHECK),
    Reason.BRANCH_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the name; `tallystick agent branches` lists what there is."
    ),
    Reason.CHECKPOINT_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the name; `tallystick agent checkpoints` lists what there is."
    ),
    Reason.SEQ_NOT_FOUND: Row(NotFound, StatusCode.NOT_FOUND, "Read at head: its seq is the newest there is."),
    Reason.TIME_NOT_FOUND: Row(NotFound, StatusCode.NOT_FOUND, "The agent's log begins after this time."),
    Reason.CHECKPOINT_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Choose another name: a checkpoint never changes."
    ),
    Reason.TEAM_CHECKPOINT_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the name; `tallystick team list` lists what there is."
    ),
    Reason.TEAM_CHECKPOINT_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Choose another name: a team's checkpoint never changes."
    ),
    Reason.BRANCH_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Choose another name, or go on with the branch that has this one."
    ),
    Reason.MEMBER_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the node id; `tallystick member list` lists the members."
    ),
    Reason.MEMBER_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Remove the member of this node id first, or choose another id."
    ),
    Reason.CONTEXT_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the name; `tallystick context list` lists what there is."
    ),
    Reason.VERSION_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check the name; `tallystick context versions` lists what there is."
    ),
    Reason.CONTEXT_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Open the context that has this name, or choose another name."
    ),
    Reason.VERSION_EXISTS: Row(
        AlreadyExists, StatusCode.ALREADY_EXISTS, "Choose another name: a version never changes."
    ),
    Reason.SEQ_CONFLICT: Row(Conflict, StatusCode.ABORTED, "Rehydrate, decide anew, and append at the new head."),
    Reason.MERGE_CONFLICT: Row(
        Conflict, StatusCode.ABORTED, "Reconcile with a resolver that settles the places, or put it on a branch."
    ),
    Reason.EPOCH_CONFLICT: Row(
        Conflict, StatusCode.ABORTED, "Describe the context: it is in another epoch than was asked for."
    ),
    Reason.BRANCH_IN_USE: Row(
        Conflict, StatusCode.ABORTED, "Delete the branches that began at this one first; the metadata name one."
    ),
    Reason.WRITER_IN_USE: Row(
        Conflict, StatusCode.ABORTED, "Take a writer id of your own: another replica writes under this one."
    ),
    Reason.TASK_CLAIMED: Row(Conflict, StatusCode.ABORTED, "Choose another task: the metadata name who has this one."),
    Reason.LEASE_HELD: Row(
        Conflict, StatusCode.ABORTED, "Wait for its end, which is watched, or leave the agent to who has it."
    ),
    Reason.PAYLOAD_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Put the payload first: it never was, or was collected since nothing named it."
    ),
    Reason.CHUNK_MISSING: Row(
        Conflict, StatusCode.ABORTED, "Ask which chunks are missing, put them, and put the payload again."
    ),
    Reason.STALE_OWNER: Row(
        StaleOwner,
        StatusCode.FAILED_PRECONDITION,
        "Stop writing: another took over, or the lease ended. Acquire it, rehydrate, and go on from there.",
    ),
    Reason.STEP_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Begin the step first; `tallystick agent steps` lists what there is."
    ),
    Reason.STEP_CONFLICT: Row(
        Conflict,
        StatusCode.ABORTED,
        "Look at the step: that attempt at it is not under way; the metadata say which is.",
    ),
    Reason.STEP_AMBIGUOUS: Row(
        Conflict,
        StatusCode.ABORTED,
        "Find out whether it happened, then complete it, fail it or begin it anew; `on_ambiguous` says how.",
    ),
    Reason.STEP_FAILED: Row(
        Conflict, StatusCode.ABORTED, "Begin the step anew, naming the attempt that failed; `on_failed` says how."
    ),
    Reason.TURN_CONFLICT: Row(
        Conflict, StatusCode.ABORTED, "Go on with the turn that is open, which the metadata name, or abandon it."
    ),
    Reason.SCHEMA_NOT_FOUND: Row(
        NotFound, StatusCode.NOT_FOUND, "Check subject and version; `tallystick schema list` lists what there is."
    ),
    Reason.SCHEMA_CONFLICT: Row(
        Conflict, StatusCode.ABORTED, "Look at the version that was registered meanwhile, and register the one after."
    ),
    Reason.STATE_VERSION: Row(
        Conflict,
        StatusCode.ABORTED,
        "Update this program: the state has a newer version than it writes. It can still be read.",
    ),
    Reason.INVALID_NAME: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.INVALID_JSON: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.INVALID_POINTER: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.INVALID_OPERATION: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Rehydrate: the operation does not fit the state."
    ),
    Reason.INVALID_REQUEST: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.TOO_LARGE: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Send less at once, or store the value elsewhere and its address here."
    ),
    Reason.TOO_DEEP: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.KEY_REUSED: Row(Invalid, StatusCode.INVALID_ARGUMENT, "Use a new idempotency key for a new request."),
    Reason.MALFORMED_UPDATE: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Drop this update: it is no Yjs update (v1) that a node may believe."
    ),
    Reason.FOREIGN_WRITER: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Write under writer ids of your own: `AllocateWriters` gives them."
    ),
    Reason.TYPE_CLASH: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Use the type that this root has; the message names it."
    ),
    Reason.INVALID_VALUE: Row(Invalid, StatusCode.INVALID_ARGUMENT, _FIX),
    Reason.SCHEMA_VIOLATION: Row(
        Invalid,
        StatusCode.INVALID_ARGUMENT,
        "Correct the value: the metadata name schema, version, place and rule; `tallystick schema show` shows it.",
    ),
    Reason.SCHEMA_INCOMPATIBLE: Row(
        Invalid,
        StatusCode.INVALID_ARGUMENT,
        "Allow what was allowed, or register it with compatibility `none` and migrate.",
    ),
    Reason.COMPACTED: Row(
        Compacted,
        StatusCode.OUT_OF_RANGE,
        "Read from `oldest_seq` on; a watch: rehydrate, and watch from the revision that came.",
    ),
    Reason.DENIED: Row(Denied, StatusCode.PERMISSION_DENIED, "Ask who runs the cluster for access."),
    Reason.UNAUTHENTICATED: Row(
        Denied, StatusCode.UNAUTHENTICATED, "Present a client certificate of this cluster's CA."
    ),
    Reason.STATE_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Delete from the state, or split it over several agents."
    ),
    Reason.BRANCH_QUOTA: Row(
        QuotaExceeded,
        StatusCode.RESOURCE_EXHAUSTED,
        "Delete branches that are done with, or fork fewer agents.",
    ),
    Reason.TEAM_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Name fewer agents at once; `limits.md` has the bounds."
    ),
    Reason.CONTEXT_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Delete from the document and compact it, or split it."
    ),
    Reason.WRITERS_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Compact the context: a new epoch begins without writers."
    ),
    Reason.LEASE_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Release leases that are not needed, or wait until some expire."
    ),
    Reason.PAYLOAD_QUOTA: Row(
        QuotaExceeded,
        StatusCode.RESOURCE_EXHAUSTED,
        "Delete what refers to payloads that are not needed: they are collected; or split a payload that is too large.",
    ),
    Reason.SCHEMA_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Use the schemas that are registered: none is ever removed."
    ),
    Reason.CONNECTION_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Close contexts of this connection that are not in use."
    ),
    Reason.PRESENCE_QUOTA: Row(
        QuotaExceeded, StatusCode.RESOURCE_EXHAUSTED, "Say less in presence: it is for who is here, not for content."
    ),
    Reason.INVALID_MEMBERS: Row(
        Invalid, StatusCode.INVALID_ARGUMENT, "Add and promote another node first: the cluster would lose its voters."
    ),
    Reason.NO_LEADER: Row(NoLeader, StatusCode.UNAVAILABLE, _RETRY),
    Reason.BEHIND: Row(
        Unavailable, StatusCode.UNAVAILABLE, "Ask another node: this one has not caught up with what you saw."
    ),
    Reason.MEMBER_CHANGE_PENDING: Row(
        Unavailable, StatusCode.UNAVAILABLE, "Retry: members change one at a time, and one change is not decided yet."
    ),
    Reason.LEARNER_BEHIND: Row(
        Unavailable, StatusCode.UNAVAILABLE, "Retry once the learner has caught up; `tallystick member list` shows it."
    ),
    Reason.CONTEXT_SEALED: Row(
        Unavailable, StatusCode.UNAVAILABLE, "Retry: the context is between two epochs, for seconds."
    ),
    Reason.CONTEXT_DAMAGED: Row(
        Unavailable, StatusCode.UNAVAILABLE, "Ask another node: this one is fetching a sound copy of the document."
    ),
    Reason.WORKER_DOWN: Row(Unavailable, StatusCode.UNAVAILABLE, _RETRY),
    Reason.UNREACHABLE: Row(Unavailable, StatusCode.UNAVAILABLE, _RETRY),
    Reason.STOPPING: Row(Unavailable, StatusCode.UNAVAILABLE, _RETRY),
    Reason.OVERLOADED: Row(Overloaded, StatusCode.RESOURCE_EXHAUSTED, _RETRY),
    Reason.DISK_FULL: Row(
        Overloaded, StatusCode.RESOURCE_EXHAUSTED, "Free space on the node's disk: it takes writes again by itself."
    ),
    Reason.UNDECIDED: Row(Undecided, StatusCode.DEADLINE_EXCEEDED, "Ask again with the same idempotency key."),
    Reason.CORRUPT: Row(Corrupt, StatusCode.DATA_LOSS, "Look at the node's log: it names the file and the offset."),
    Reason.INTERNAL: Row(TallystickError, StatusCode.INTERNAL, "This is a bug: please report it with the node's log."),
}


def error_for(reason: str, message: str, metadata: Mapping[str, str] | None = None) -> TallystickError:
    """The exception for a reason code from the wire; an unknown code gives the base class.

    Example:
        >>> error_for("SEQ_CONFLICT", "log ends at 4", {"head_seq": "4"})
        Conflict('log ends at 4')
    """
    try:
        known = Reason(reason)
    except ValueError:
        return TallystickError(message, metadata={**(metadata or {}), "unknown_reason": reason})
    return REASONS[known].error(message, reason=known, metadata=metadata)
