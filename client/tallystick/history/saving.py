"""`agent.save`: brings an agent's state to a value, by appending what differs.

Rules of this file:
- What is appended leads from a state that was read (or saved) to the wanted one, and is refused if the log has moved:
  then it is thought again. So the state is the wanted one when it is decided, whoever wrote meanwhile.
- The state that was saved last is kept here, as a copy: the next save sends the difference and reads nothing.
- A save needs no key: of one whose answer was lost, a second one finds nothing to do.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick import ops
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._values import Appended, Consistency, Operation
from tallystick.errors import Conflict, NotFound, Reason
from tallystick.history.changes import diff, digest
from tallystick.history.history import ATTEMPTS
from tallystick.history.patches import cost_bytes, mutations, operations

if TYPE_CHECKING:
    from tallystick._agent import Agent


@dataclass(frozen=True, slots=True)
class _Known:
    """The state at a seq."""

    seq: int
    state: JSON


class Saver:
    """Saves the states of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._known: _Known | None = None

    def forget(self) -> None:
        """Forgets what was saved; for a new agent of the same name."""
        self._known = None

    async def save(
        self, state: JSONLike, *, cause: str, expected_seq: int | None, timeout_s: float | None
    ) -> Appended | None:
        """See `Agent.save`."""
        text = encode(state)
        wanted = decode(text)
        known, self._known = self._known, None  # after a failure nothing is known
        if known is None or expected_seq not in (None, known.seq):
            known = await self._head(timeout_s)
        for _ in range(ATTEMPTS):
            if expected_seq not in (None, known.seq):
                raise Conflict(f"the log ends at {known.seq}", metadata={"head_seq": str(known.seq)})
            made = _leading(known.state, wanted, len(text))
            done = await self._append(made, known.seq, cause, timeout_s) if made else None
            if done is not None:
                self._known = _Known(done.seq, wanted)
                return done
            before, known = known, await self._now(known, timeout_s)
            if not made and known is before:
                self._known = known
                return None
        raise Conflict(f"the log moved {ATTEMPTS} times meanwhile: is another writing it?")

    async def _append(self, made: list[Operation], seq: int, cause: str, timeout_s: float | None) -> Appended | None:
        """None: the log ends elsewhere."""
        try:
            return await self._agent.append_many(mutations(made, cause=cause), expected_seq=seq, timeout_s=timeout_s)
        except Conflict as error:
            if error.reason is not Reason.SEQ_CONFLICT:
                raise
            return None

    async def _now(self, known: _Known, timeout_s: float | None) -> _Known:
        """What is known, if it still stands; events and steps, which leave the state, move it without being read."""
        if known.seq:
            with contextlib.suppress(NotFound):  # deleted meanwhile: it begins anew
                kept = await self._agent.state_digest(consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
                if kept.digest == digest(known.state):
                    return known if kept.seq == known.seq else _Known(kept.seq, known.state)
        head = await self._head(timeout_s)
        return known if head.seq == known.seq == 0 else head

    async def _head(self, timeout_s: float | None) -> _Known:
        head = await self._agent.rehydrate(tail=0, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
        return _Known(head.seq, head.state)


def _leading(before: JSON, wanted: JSON, wanted_bytes: int) -> list[Operation]:
    """What leads from the one state to the other: the difference, or the whole where that is less."""
    made = operations(before, diff(before, wanted))
    if len(made) > 1 and cost_bytes(made) > wanted_bytes:
        return [ops.replace(wanted)]
    return made
