"""What is said of retention: the commands, what comes of them, and what core asks of its tables.

Rules of this file: those of `commands.py`, `outcomes.py` and `tables.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from tallystick_node.core.commands import Target
    from tallystick_node.core.outcomes import CheckpointTaken
    from tallystick_node.core.tables import LogRecord


class RetentionPolicy(NamedTuple):
    """How much a namespace keeps of each log. 0: no bound; all that are set hold at once.

    `archive`: where what goes is written first, a name in the nodes' configuration; empty: nowhere.
    """

    max_age_s: int = 0
    max_mutations: int = 0
    max_log_bytes: int = 0
    archive: str = ""


@dataclass(frozen=True, slots=True)
class SetRetention:
    """Say how much a namespace keeps."""

    time_unix_ms: int
    namespace: str
    policy: RetentionPolicy
    actor: str = ""


@dataclass(frozen=True, slots=True)
class CompactLog:
    """Remove a log's own mutations before `below_seq`, as far as nothing needs them. `hash`: of the one before it."""

    time_unix_ms: int
    target: Target
    below_seq: int
    hash: bytes
    actor: str = ""


@dataclass(frozen=True, slots=True)
class PinCheckpoint:
    """Keep a checkpoint, with its state, when the mutations around it go; or no longer."""

    time_unix_ms: int
    target: Target
    name: str
    is_pinned: bool
    actor: str = ""


RetentionCommand: TypeAlias = SetRetention | CompactLog | PinCheckpoint
"""On retention. Repeated it is, by what it names, the same."""


class RetentionSet(NamedTuple):
    """A policy in the decided history."""

    position: int
    namespace: str
    policy: RetentionPolicy
    time_unix_ms: int
    actor: str


class LogCompacted(NamedTuple):
    """The oldest mutations of a log went: those up to `seq`, whose hash this is, and that of the state there.

    `mutations`, `checkpoints`: how many went now.
    """

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    state_digest: bytes
    mutations: int
    checkpoints: int


class CheckpointPinned(NamedTuple):
    """A checkpoint was pinned, or is no longer. `target`: the log in which it was taken."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    name: str
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class RetentionRecord:
    """A namespace's policy, and who set it when."""

    namespace: str
    policy: RetentionPolicy
    time_unix_ms: int
    position: int
    actor: str


class Point(NamedTuple):
    """A point of a log: what is known of the mutation there, whether that is kept or not."""

    seq: int
    position: int
    time_unix_ms: int
    hash: bytes


class KeptState(NamedTuple):
    """A state that is kept whole: canonical JSON, and its SHA-256."""

    point: Point
    digest: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where what is kept of a log's own begins: behind the newest mutation that went, whose `point` this is.

    Attributes:
        mutations, size_bytes: all that ever went, serialized.
        first_position: of the log's first own mutation.
        compacted_position: of the compaction that made this anchor.
    """

    point: Point
    digest: bytes
    mutations: int
    size_bytes: int
    first_position: int
    compacted_position: int


class HoldKind(enum.IntEnum):
    """What holds mutations. The numbers are the wire's."""

    BRANCH = 1
    LEASE = 2
    TURN = 3


class Hold(NamedTuple):
    """Something needs what comes after a seq: the anchor may not be past that. `detail`: name of a branch or holder."""

    kind: HoldKind
    seq: int
    detail: str


@dataclass(frozen=True, slots=True)
class RetentionChanged:
    """The policy is set."""

    position: int
    record: RetentionRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Compacted:
    """What is kept of the log begins behind `anchor_seq`. Without mutations nothing went by this.

    `held`: all that holds mutations of the log.
    """

    position: int
    anchor_seq: int
    mutations: int = 0
    size_bytes: int = 0
    checkpoints: int = 0
    held: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class PinChanged:
    """The checkpoint, taken at `seq`, is pinned or not."""

    position: int
    seq: int
    is_pinned: bool
    replayed: bool = False


RetentionEvent: TypeAlias = RetentionSet | LogCompacted | CheckpointPinned
RetentionOutcome: TypeAlias = RetentionChanged | Compacted | PinChanged


class RetentionTables(Protocol):
    """The tables of retention. What is asked of a log is asked of its shared past too, unless it says "own"."""

    def policy(self, namespace: str) -> RetentionRecord | None:
        """The policy of a namespace; None: none was ever set."""
        ...

    def save_policy(self, record: RetentionRecord) -> None:
        """Set a policy."""
        ...

    def anchor(self, log: LogRecord) -> Anchor | None:
        """The log's own; None: it has all of its own mutations."""
        ...

    def oldest(self, log: LogRecord) -> Anchor | None:
        """The anchor behind which all of the log is kept, its own or one of its past; None: it is whole."""
        ...

    def is_readable(self, log: LogRecord, seq: int) -> bool:
        """Whether the state at a seq of the log can be had."""
        ...

    def state(self, log: LogRecord, seq: int) -> KeptState:
        """The state at a seq that is readable."""
        ...

    def is_lone(self, log: LogRecord, seq: int) -> bool:
        """Whether a readable state is one that is kept by itself: the mutations that follow it are gone."""
        ...

    def users(self, log: LogRecord) -> Sequence[tuple[LogRecord, int]]:
        """Who needs the log's own mutations: itself, and the branches that began at it or at those and have no anchor
        of their own; each with the seq up to which it shares them."""
        ...

    def named(self, log: LogRecord, seqs: tuple[int, int]) -> Sequence[int]:
        """The seqs from the one up to below the other, rising: where a pinned checkpoint of its own was taken, which a
        cut through a team binds, or up to which another log of the agent shares it, for there the two are merged."""
        ...

    def is_kept(self, log: LogRecord, seq: int) -> bool:
        """Whether the log's own rows have the state at a seq whole."""
        ...

    def keep(self, log: LogRecord, kept: KeptState) -> None:
        """Keep a state among the log's own rows."""
        ...

    def staying(self, log: LogRecord, below: int) -> Sequence[int]:
        """The seqs before one, of the log's own, where something is left that may name payloads: states that are kept,
        checkpoints, ends of steps."""
        ...

    def reach(self, log: LogRecord, upto: int, size_bytes: int) -> int:
        """The last seq up to one to which the log's own mutations have at most so many bytes; at least its first."""
        ...

    def weigh(self, log: LogRecord, seq: int) -> tuple[int, int]:
        """Bytes of the log's own mutations up to a seq, and position of the first of them."""
        ...

    def compact(self, log: LogRecord, anchor: Anchor) -> int:
        """Remove the log's own mutations up to the anchor, whose state is kept, and the checkpoints before it that are
        not pinned; how many these were.

        What stays: a step's end, and of a mutation that a remembered key answers from all but its content; a
        checkpoint that such a key answers from. Kept states before the anchor go, but for those that are `named`. A
        record that names a checkpoint that went names the newest that is left.
        """
        ...

    def save_anchor(self, log: LogRecord, anchor: Anchor) -> None:
        """Let a new branch begin with a state that it keeps."""
        ...

    def checkpoint(self, log: LogRecord, name: str) -> CheckpointTaken | None:
        """The checkpoint of that name."""
        ...

    def newest_checkpoint(self, log: LogRecord) -> CheckpointTaken | None:
        """The newest one."""
        ...

    def is_pinned(self, taken: CheckpointTaken) -> bool:
        """Whether it is pinned."""
        ...

    def save_pin(self, log: LogRecord, taken: CheckpointTaken, event: CheckpointPinned) -> None:
        """Pin a checkpoint of the log's own, or no longer, and add the event at the next position."""
        ...

    def add_compaction(self, log: LogRecord, event: LogCompacted) -> None:
        """Add the event at the next position."""
        ...

    def last_turn_end(self, log: LogRecord) -> int:
        """The seq at which a turn was ended last; 0: none was."""
        ...
