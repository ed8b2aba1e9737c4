"""A turn of an agent: `async with agent.turn():`.

Rules of this file: what ends without an exception is ended; what does not stays open, as if the agent had died.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Self, TypeAlias

from tallystick._json import JSONLike, encode
from tallystick._methods import begin_turn_method, end_turn_method
from tallystick.errors import Conflict, Reason
from tallystick.steps.writer import Writer
from tallystick.v1 import step_pb2

OnOpen: TypeAlias = Literal["raise", "resume", "abandon"]
"""What to do with a turn that was left open."""


class Turn:
    """A turn: what an agent does between two rests. Made by `Agent.turn`; used as `async with`.

    It ends with the block, or by `end`; an exception leaves it open, and the next one finds it so.
    """

    def __init__(self, writer: Writer, *, note: JSONLike, on_open: OnOpen, cause: str, timeout_s: float | None) -> None:
        self._writer = writer
        self._note = note
        self._on_open = on_open
        self._cause = cause
        self._timeout_s = timeout_s
        self._seq = 0
        self._is_resumed = False
        self._is_ended = False

    async def __aenter__(self) -> Self:
        if self._seq:
            raise RuntimeError("a turn is used once")
        try:
            self._seq = await self._begin(abandons=0)
        except Conflict as error:
            left_open = int(error.metadata.get("turn", "0"))
            if error.reason is not Reason.TURN_CONFLICT or not left_open or self._on_open == "raise":
                raise
            self._is_resumed = self._on_open == "resume"
            self._seq = left_open if self._is_resumed else await self._begin(abandons=left_open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._is_ended:
            await self.end()

    @property
    def seq(self) -> int:
        """Its name: the seq of the mutation that began it."""
        return self._seq

    @property
    def is_resumed(self) -> bool:
        """It was left open before, and goes on."""
        return self._is_resumed

    async def end(self, note: JSONLike = None) -> None:
        """Ends the turn before the block does. `note`: what came of it.

        Raises:
            Conflict: it is not open any more: another abandoned it.
            StaleOwner: another holds the lease.
        """
        request = step_pb2.EndTurnRequest(turn=self._seq, note=encode(note), cause=self._cause)
        answer = await self._writer.write(end_turn_method, request, self._timeout_s)
        self._writer.calls.session.saw(answer.revision)
        self._is_ended = True

    async def _begin(self, abandons: int) -> int:
        request = step_pb2.BeginTurnRequest(abandons=abandons, note=encode(self._note), cause=self._cause)
        answer = await self._writer.write(begin_turn_method, request, self._timeout_s)
        self._writer.calls.session.saw(answer.revision)
        return answer.turn
