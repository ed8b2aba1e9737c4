"""What is known of a step: immutable values, no gRPC but in `step_of`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tallystick import _convert
from tallystick._json import JSON, JSONLike, decode
from tallystick._payload_ref import PayloadRef
from tallystick._times import to_time
from tallystick._values import Revision
from tallystick.errors import Corrupt
from tallystick.steps.results import stand_in
from tallystick.v1 import step_pb2


class StepStatus(enum.StrEnum):
    """How far the newest attempt at a step came."""

    BEGUN = "begun"
    """Whether its effect happened is known to who began it, if to anybody."""
    COMPLETED = "completed"
    """For good: it never changes."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepError:
    """Why a step failed: the type of the exception, and what it said."""

    type: str
    message: str

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


@dataclass(frozen=True, slots=True)
class Step:
    """The newest attempt at a step.

    Attributes:
        attempt: 1, 2, ...
        effect_key: the same for all attempts and on all branches: hand it to whom the effect is asked of.
        actor, epoch: who began it, and under which lease (0: none).
        begun_seq, ended_seq: of its mutations; `ended_seq` 0: it is begun.
        revision: of the newest of them.
        result_json: of a completed one: JSON text; empty where it was not asked for.
        error: of a failed one; likewise None.
    """

    name: str
    status: StepStatus
    attempt: int
    effect_key: str
    actor: str
    epoch: int
    begun_seq: int
    begun_unix_ms: int
    ended_seq: int
    ended_unix_ms: int
    revision: Revision
    result_json: bytes = b""
    error: StepError | None = None

    @property
    def result(self) -> JSON:
        """What a completed step returned, decoded."""
        return decode(self.result_json)

    @property
    def payload(self) -> PayloadRef | None:
        """What the result stands for, in a list: `Steps.get` fetches it. None: the result stands there itself."""
        return stand_in(self.result)

    @property
    def begun(self) -> datetime:
        """When this attempt was begun, by the clock of the node that took it."""
        return to_time(self.begun_unix_ms)

    @property
    def ended(self) -> datetime | None:
        """When it was completed or failed; None: it is begun."""
        return to_time(self.ended_unix_ms) if self.ended_seq else None


@dataclass(frozen=True, slots=True)
class Happened:
    """What a probe answers when it finds that the effect happened: this is what the step returned."""

    result: JSONLike = None


_STATUSES: Final = {
    step_pb2.STEP_STATUS_BEGUN: StepStatus.BEGUN,
    step_pb2.STEP_STATUS_COMPLETED: StepStatus.COMPLETED,
    step_pb2.STEP_STATUS_FAILED: StepStatus.FAILED,
}


def step_of(message: step_pb2.StepInfo) -> Step:
    """A step that a node told of.

    Raises:
        Corrupt: its status is one that this client does not know.
    """
    status = _STATUSES.get(message.status)
    if status is None:
        raise Corrupt(f"a step of an unknown status {message.status}: is this client older than the cluster?")
    return Step(
        name=message.name,
        status=status,
        attempt=message.attempt,
        effect_key=message.effect_key,
        actor=message.actor,
        epoch=message.epoch,
        begun_seq=message.begun_seq,
        begun_unix_ms=message.begun_unix_ms,
        ended_seq=message.ended_seq,
        ended_unix_ms=message.ended_unix_ms,
        revision=_convert.revision(message.revision),
        result_json=message.result,
        error=StepError(message.error.type, message.error.message) if message.HasField("error") else None,
    )
