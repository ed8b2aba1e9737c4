"""What all writes of steps and turns have in common: whose they are, their key, the lease they go under."""

from __future__ import annotations

from typing import Protocol, TypeVar

from tallystick._calls import Answer, Calls, Method
from tallystick._values import MAIN
from tallystick.errors import StaleOwner
from tallystick.leases.fence import Fence
from tallystick.v1 import common_pb2, step_pb2


class Written(Answer, Protocol):
    """What a write of a step or a turn is answered."""

    @property
    def replayed(self) -> bool:
        """An earlier attempt of the request was decided: this is its answer."""


AnswerT = TypeVar("AnswerT", bound=Written)
RequestT = TypeVar(
    "RequestT",
    step_pb2.BeginStepRequest,
    step_pb2.EndStepRequest,
    step_pb2.BeginTurnRequest,
    step_pb2.EndTurnRequest,
)


class Writer:
    """Sends the writes of one agent."""

    def __init__(self, calls: Calls, ref: common_pb2.AgentRef, fence: Fence, actor: str) -> None:
        self.calls = calls
        self.ref = ref
        self.actor = actor
        self._fence = fence

    async def write(
        self,
        method: Method[RequestT, AnswerT],
        request: RequestT,
        timeout_s: float | None,
        idempotency_key: str | None = None,
    ) -> AnswerT:
        """Sends a request that lacks only whose it is. The key is made once: all its attempts have one effect.

        Raises:
            StaleOwner: the lease under which it goes was lost; it is lost here from then on.
        """
        request.agent.CopyFrom(self.ref)
        request.idempotency_key = idempotency_key or self.calls.outside.new_key()
        request.epoch, request.actor = self._fence.epoch, self.actor
        observing, log = self.calls.observing, (self.ref.agent, self.ref.branch or MAIN)
        news = observing.news(*log)
        if news is not None:
            request.observed.CopyFrom(news.message)
        try:
            answer = await self.calls.write(method, request, key=request.idempotency_key, timeout_s=timeout_s)
        except StaleOwner:
            self._fence.refused(request.epoch)
            raise
        seq = _written_seq(answer)
        if seq:
            observing.acknowledged(*log, news)
            observing.wrote(*log, seq, seq, b"")
        return answer


def _written_seq(answer: Written) -> int:
    """The seq of what this request wrote; 0: it wrote nothing, for it was a retry, or another had begun the step."""
    match answer:
        case step_pb2.BeginStepResponse(granted=True, replayed=False):
            return answer.step.begun_seq
        case step_pb2.EndStepResponse(replayed=False):
            return answer.step.ended_seq
        case step_pb2.TurnResponse(replayed=False):
            return answer.seq
        case _:
            return 0
