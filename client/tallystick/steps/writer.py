"""What all writes of steps and turns have in common: whose they are, their key, the lease they go under."""

from __future__ import annotations

from typing import TypeVar

from tallystick._calls import AnswerT, Calls, Method
from tallystick.errors import StaleOwner
from tallystick.leases.fence import Fence
from tallystick.v1 import common_pb2, step_pb2

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
        try:
            return await self.calls.write(method, request, key=request.idempotency_key, timeout_s=timeout_s)
        except StaleOwner:
            self._fence.refused(request.epoch)
            raise
