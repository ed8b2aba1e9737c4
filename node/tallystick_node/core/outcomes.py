"""What came of a command: an outcome or a refusal for who asked, events for who watches.

Rules of this file:
- Everything here is a value, equal on every replica.
- A refusal and a replay have no events; anything else has at least one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tallystick.errors import Reason
from tallystick_node.core.commands import Target


class MutationDecided(NamedTuple):
    """A mutation in the decided history. `raw` is the mutation as it was handed in, `hash` chains it to its log."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    raw: bytes


class CheckpointTaken(NamedTuple):
    """A checkpoint in the decided history. `hash` is that of the mutation at `seq`, empty at seq 0."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    name: str
    step: int
    metadata: bytes
    pending_calls: bytes
    state_digest: bytes


class AgentDeleted(NamedTuple):
    """The end of an agent in the decided history. `seq` is where its log ended."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str


Event: TypeAlias = MutationDecided | CheckpointTaken | AgentDeleted


@dataclass(frozen=True, slots=True)
class Appended:
    """The mutations from `first_seq` to `last_seq` are in the log; position, hash and time are those of the last."""

    position: int
    first_seq: int
    last_seq: int
    hash: bytes
    time_unix_ms: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The checkpoint is taken."""

    position: int
    checkpoint: CheckpointTaken
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The agent is gone; its log ended at `last_seq`."""

    position: int
    last_seq: int
    time_unix_ms: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Decided: no. The fields of an error of `tallystick.errors`."""

    reason: Reason
    message: str
    metadata: Mapping[str, str]


Outcome: TypeAlias = Appended | Checkpointed | Deleted | Refusal


class Applied(NamedTuple):
    """What one command led to."""

    outcome: Outcome
    events: tuple[Event, ...] = ()
