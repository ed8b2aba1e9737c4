"""What became of writes whose callers were not told: the agents' own logs say it, once all is at rest.

Rules of this file:
- Only a write that hands in an element of its own is known again in a log; what counts up stays undecided.
- The history itself stays as it was told: this is about what the checks have to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tallystick.testing.history import JSON, History, Operation

Places = Mapping[tuple[str, str], int]
"""Revision by agent and element."""

_KINDS: Final = ("append", "cas")


def settled(history: History, places: Places, *, at_s: float) -> History:
    """The history in which an undecided write bears the revision that its log has for it, or else has failed.

    Args:
        places: of all elements in the logs of all agents, read after the last operation.
        at_s: when they were read.
    """
    return History(_settled(operation, places, at_s) for operation in history)


def _settled(operation: Operation, places: Places, at_s: float) -> Operation:
    if operation.outcome != "undecided" or operation.kind not in _KINDS:
        return operation
    revision = places.get((operation.key, _element(operation)))
    if revision is not None:
        return replace(operation, revision=revision)
    return replace(operation, outcome="failed", returned_s=at_s)


def _element(operation: Operation) -> str:
    handed_in: JSON = operation.argument
    return str(handed_in[1] if operation.kind == "cas" and isinstance(handed_in, list) else handed_in)
