"""The steps of one agent: the calls beneath `agent.step`, for who brings effects about in another way.

Rules of this file:
- A write gets its idempotency key once, before its first attempt: a begin that is sent twice is granted as one.
- What is loaded is of completed steps alone, for they never change; and bounded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from tallystick._json import JSONLike
from tallystick._methods import begin_step_method, end_step_method, get_step_method, list_steps_method
from tallystick._values import Consistency
from tallystick.errors import NotFound, Reason
from tallystick.payloads.payloads import Payloads
from tallystick.steps.results import Results
from tallystick.steps.values import Step, StepError, StepStatus, step_of
from tallystick.steps.writer import Writer
from tallystick.v1 import step_pb2

PAGE: Final = 1000
"""The most that a node gives at a time."""

LOADED_BYTES: Final = 64 * 1024 * 1024
"""Results that `load` keeps at most."""

ERROR_BYTES: Final = 16 * 1024
"""An error's message is cut to so much, in UTF-8; its type to a part of that."""

_ERROR_TYPE_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class BegunStep:
    """The answer to a begin: the step as it is now, and whether this call may bring its effect about.

    Attributes:
        is_granted: this call began the attempt: the effect is its caller's. Otherwise the step is completed, failed,
            or ambiguous (begun by another call, and nobody said what came of it).
    """

    step: Step
    is_granted: bool

    @property
    def is_ambiguous(self) -> bool:
        """Begun by another call, and nobody said what came of it."""
        return not self.is_granted and self.step.status is StepStatus.BEGUN


class Steps:
    """The steps of one agent. Made by `Agent.steps`; `Agent.step` does it all at once.

    Every method may raise `Unavailable` (nothing happened); a write may raise `Undecided` (it may have been applied:
    ask again with `error.metadata["idempotency_key"]`), and `StaleOwner` (another holds the lease).
    """

    def __init__(self, writer: Writer, consistency: Consistency) -> None:
        self._writer = writer
        self._calls, self._ref = writer.calls, writer.ref
        self._consistency = consistency
        self._loaded: dict[str, bytes] = {}
        payloads = Payloads(writer.calls, namespace=writer.ref.namespace, actor=writer.actor, consistency=consistency)
        self._results = Results(payloads)

    async def begin(
        self,
        name: str,
        *,
        retry_of: int = 0,
        input_digest: bytes = b"",
        cause: str = "",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> BegunStep:
        """Begins a step, unless it was begun before: then it is answered as it is, and nothing happens.

        Args:
            retry_of: the attempt that was begun or failed, and that this one follows. Of two that retry at once, one is
                granted the new attempt.
            input_digest: of what it is begun with, for the record: at most 64 bytes.
            cause: what led to it.

        Raises:
            NotFound: `retry_of` names an attempt at a step that was never begun.
            Invalid: a name or a limit.
        """
        request = step_pb2.BeginStepRequest(name=name, retry_of=retry_of, input_digest=input_digest, cause=cause)
        answer = await self._writer.write(begin_step_method, request, timeout_s, idempotency_key)
        self._calls.session.saw(answer.step.revision)
        return BegunStep(await self._whole(step_of(answer.step), timeout_s), answer.granted)

    async def complete(
        self,
        name: str,
        attempt: int,
        result: JSONLike = None,
        *,
        cause: str = "",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Step:
        """Ends an attempt with what it returned, for good.

        A result above 256 KiB is put as a payload, and its name stands in the log; `begin`, `get` and `Agent.step` give
        it whole.

        Raises:
            Conflict: another attempt is under way, or it has ended.
            NotFound: the step was never begun.
            Invalid: the result is not JSON, or larger than 64 MiB.
            QuotaExceeded: the namespace has no room for a large one.
        """
        text = await self._results.keep(result, timeout_s)
        end = step_pb2.EndStepRequest(name=name, attempt=attempt, result=text, cause=cause)
        return await self._end(end, idempotency_key, timeout_s)

    async def fail(
        self,
        name: str,
        attempt: int,
        error: StepError | BaseException,
        *,
        cause: str = "",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Step:
        """Ends an attempt with why it failed: its effect did not happen. It can be begun anew.

        Args:
            error: an exception is told by its type and text; the text is cut to 16 KiB.

        Raises:
            Conflict: another attempt is under way, or it has ended.
            NotFound: the step was never begun.
        """
        kind, text = _cut(_type_of(error), _ERROR_TYPE_BYTES), _cut(_text_of(error), ERROR_BYTES)
        told = step_pb2.StepError(type=kind, message=text)
        end = step_pb2.EndStepRequest(name=name, attempt=attempt, error=told, cause=cause)
        return await self._end(end, idempotency_key, timeout_s)

    async def get(self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None) -> Step:
        """A step as it is.

        Raises:
            NotFound: the agent does not exist, or the step was never begun.
        """
        consistency = consistency or self._consistency
        options = self._calls.session.read_options(consistency)
        request = step_pb2.GetStepRequest(agent=self._ref, options=options, name=name)
        answer = await self._calls.read(get_step_method, request, consistency=consistency, timeout_s=timeout_s)
        return await self._whole(step_of(answer.step), timeout_s)

    def list(
        self, *, results: bool = False, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """The steps, by name, as far as they were begun. `timeout_s` limits the fetch of each page.

        Args:
            results: with what came of each; of a large result, what stands for it (`Step.payload`).

        Raises:
            NotFound: the agent does not exist.
        """
        return self._list(results, consistency or self._consistency, timeout_s)

    async def load(self, *, timeout_s: float | None = None) -> int:
        """Loads what the completed steps returned, so that `Agent.step` answers them without asking anybody.

        For an agent that is resumed: its program runs through the steps that it did, and they cost nothing. What does
        not fit into 64 MiB is asked for when it is needed. Returns how many are loaded: none of an agent that is to be.
        """
        try:
            self._loaded = await self._completed(timeout_s)
        except NotFound as error:
            if error.reason is not Reason.AGENT_NOT_FOUND:
                raise
            self._loaded = {}
        return len(self._loaded)

    def loaded(self, name: str) -> bytes | None:
        """What a completed step returned, as JSON text, if it was loaded; of a large result, what stands for it."""
        return self._loaded.get(name)

    async def whole(self, text: bytes, *, timeout_s: float | None = None) -> bytes:
        """A result, as JSON text, for what was loaded of it.

        Raises:
            NotFound: it is a large one, and its payload is gone.
        """
        return await self._results.whole(text, timeout_s)

    def forget(self) -> None:
        """Forgets what was loaded; for a new agent of the same name."""
        self._loaded = {}

    async def _whole(self, step: Step, timeout_s: float | None) -> Step:
        text = await self._results.whole(step.result_json, timeout_s)
        return step if text is step.result_json else replace(step, result_json=text)

    async def _end(
        self, request: step_pb2.EndStepRequest, idempotency_key: str | None, timeout_s: float | None
    ) -> Step:
        answer = await self._writer.write(end_step_method, request, timeout_s, idempotency_key)
        self._calls.session.saw(answer.step.revision)
        return step_of(answer.step)

    async def _completed(self, timeout_s: float | None) -> dict[str, bytes]:
        """What the completed steps returned, by name, as far as it is to be kept."""
        loaded: dict[str, bytes] = {}
        size_bytes = 0
        async with aclosing(self._pages(self._consistency, timeout_s, results_only=True)) as pages:
            async for page in pages:
                for message in page:
                    size_bytes += len(message.result)
                    if size_bytes > LOADED_BYTES:
                        return loaded
                    if message.status == step_pb2.STEP_STATUS_COMPLETED:
                        loaded[message.name] = message.result
        return loaded

    async def _list(
        self, with_results: bool, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[Step, None]:
        async for page in self._pages(consistency, timeout_s, with_results=with_results):
            for message in page:
                yield step_of(message)

    async def _pages(
        self,
        consistency: Consistency,
        timeout_s: float | None,
        *,
        with_results: bool = False,
        results_only: bool = False,
    ) -> AsyncGenerator[Sequence[step_pb2.StepInfo], None]:
        request = step_pb2.ListStepsRequest(
            agent=self._ref, limit=PAGE, with_results=with_results, results_only=results_only
        )
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_steps_method, request, consistency=consistency, timeout_s=timeout_s)
            yield page.steps
            if not (page.more and page.steps):
                return
            if consistency is Consistency.LINEARIZABLE:
                consistency = Consistency.SESSION  # what the first page saw, the others see without another round
            request.after = page.steps[-1].name


def _type_of(error: StepError | BaseException) -> str:
    return error.type if isinstance(error, StepError) else type(error).__name__


def _text_of(error: StepError | BaseException) -> str:
    return error.message if isinstance(error, StepError) else str(error)


def _cut(text: str, size_bytes: int) -> str:
    """The beginning of a text, and nothing in it that is not Unicode."""
    return text.encode(errors="replace")[:size_bytes].decode(errors="ignore")
