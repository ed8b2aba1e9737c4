"""What a schema is of: the custom events of a kind, or the states of agents whose names begin so."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Invalid

_EVENT: Final = "event "
_STATE: Final = "state"
_STATE_OF: Final = "state of "


class SubjectKind(enum.StrEnum):
    """Of events, or of states."""

    EVENT = "event"
    STATE = "state"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a schema is of. As text: `event tool_result`, `state of planner-`, or `state` for those of all agents.

    Attributes:
        name: the events' kind, or what the agents' names begin with. Of several prefixes the longest counts.
    """

    kind: SubjectKind
    name: str

    def __str__(self) -> str:
        if self.kind is SubjectKind.EVENT:
            return _EVENT + self.name
        return _STATE_OF + self.name if self.name else _STATE

    @classmethod
    def event(cls, kind: str) -> Subject:
        """The payloads of custom events of this kind."""
        return cls(SubjectKind.EVENT, kind)

    @classmethod
    def state(cls, prefix: str = "") -> Subject:
        """The states of agents whose names begin so; "": of all."""
        return cls(SubjectKind.STATE, prefix)

    @classmethod
    def parse(cls, text: str | Subject) -> Subject:
        """The subject that a text names; a subject as it is.

        Example:
            >>> Subject.parse("state of planner-").name
            'planner-'

        Raises:
            Invalid: the text names none.
        """
        if isinstance(text, Subject):
            return text
        if text == _STATE:
            return cls.state()
        if text.startswith(_STATE_OF) and text != _STATE_OF:
            return cls.state(text.removeprefix(_STATE_OF))
        if text.startswith(_EVENT) and text != _EVENT:
            return cls.event(text.removeprefix(_EVENT))
        raise Invalid(
            f"neither `event KIND` nor `state of PREFIX` nor `state`: {text!r}", metadata={"field": "subject"}
        )
