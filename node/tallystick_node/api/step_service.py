"""`tallystick.v1.StepService`: each method turns a message into one call of the step store and back."""

from __future__ import annotations

from typing import TypeAlias

from tallystick.errors import Invalid
from tallystick.v1 import step_pb2, step_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.causality_messages import observed_in
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import MutationDecided, StepRecord, StepStatus, TurnDecided
from tallystick_node.core.steps import effect_key
from tallystick_node.step_store import StepStore
from tallystick_node.store import Write
from tallystick_node.wire.step_mutations import Failure, failure_of, result_of

WriteRequest: TypeAlias = (
    step_pb2.BeginStepRequest | step_pb2.EndStepRequest | step_pb2.BeginTurnRequest | step_pb2.EndTurnRequest
)


class StepService(step_pb2_grpc.StepServiceServicer):
    """See the module."""

    def __init__(self, steps: StepStore, headers: Headers) -> None:
        self._steps = steps
        self._headers = headers

    @calls.unary
    async def BeginStep(  # noqa: N802
        self, request: step_pb2.BeginStepRequest, context: Context
    ) -> step_pb2.BeginStepResponse:
        write = _write(request, context)
        done = await self._steps.begin(
            write,
            request.name,
            retry_of=request.retry_of,
            input_digest=request.input_digest,
            cause=request.cause,
            epoch=request.epoch,
            observed=observed_in(request),
        )
        step = _step(write.target, done.record, done.end)
        return step_pb2.BeginStepResponse(
            header=self._headers.make(), step=step, granted=done.is_granted, replayed=done.replayed
        )

    @calls.unary
    async def EndStep(  # noqa: N802
        self, request: step_pb2.EndStepRequest, context: Context
    ) -> step_pb2.EndStepResponse:
        write, end = _write(request, context), _end(request)
        done = await self._steps.end(
            write,
            request.name,
            request.attempt,
            end,
            cause=request.cause,
            epoch=request.epoch,
            observed=observed_in(request),
        )
        step = _step(write.target, done.record, None)
        return step_pb2.EndStepResponse(header=self._headers.make(), step=step, replayed=done.replayed)

    @calls.unary
    async def GetStep(  # noqa: N802
        self, request: step_pb2.GetStepRequest, context: Context
    ) -> step_pb2.GetStepResponse:
        named = messages.target(request.agent)
        found = await self._steps.step(named, request.name, read_from(request.options, context))
        return step_pb2.GetStepResponse(header=self._headers.make(), step=_step(named, found.record, found.end))

    @calls.unary
    async def ListSteps(  # noqa: N802
        self, request: step_pb2.ListStepsRequest, context: Context
    ) -> step_pb2.ListStepsResponse:
        named, how = messages.target(request.agent), read_from(request.options, context)
        if request.results_only:
            results = await self._steps.results(named, request.after, request.limit, how)
            listed, more = [_completed(*each) for each in results.items], results.more
        else:
            page = await self._steps.steps(named, request.after, request.limit, how, with_ends=request.with_results)
            listed, more = [_step(named, record, end) for record, end in page.items], page.more
        return step_pb2.ListStepsResponse(header=self._headers.make(), steps=listed, more=more)

    @calls.unary
    async def BeginTurn(  # noqa: N802
        self, request: step_pb2.BeginTurnRequest, context: Context
    ) -> step_pb2.TurnResponse:
        write = _write(request, context)
        return self._turned(
            await self._steps.begin_turn(
                write,
                abandons=request.abandons,
                note=request.note,
                cause=request.cause,
                epoch=request.epoch,
                observed=observed_in(request),
            )
        )

    @calls.unary
    async def EndTurn(  # noqa: N802
        self, request: step_pb2.EndTurnRequest, context: Context
    ) -> step_pb2.TurnResponse:
        write = _write(request, context)
        return self._turned(
            await self._steps.end_turn(
                write,
                request.turn,
                note=request.note,
                cause=request.cause,
                epoch=request.epoch,
                observed=observed_in(request),
            )
        )

    def _turned(self, done: TurnDecided) -> step_pb2.TurnResponse:
        return step_pb2.TurnResponse(
            header=self._headers.make(),
            turn=done.turn,
            seq=done.seq,
            time_unix_ms=done.time_unix_ms,
            revision=messages.revision(done.position),
            replayed=done.replayed,
        )


def _write(request: WriteRequest, context: Context) -> Write:
    return Write(
        target=messages.target(request.agent),
        key=request.idempotency_key,
        expected_seq=None,
        actor=calls.actor(context, request.actor),
        timeout_s=calls.timeout_s(context),
    )


def _end(request: step_pb2.EndStepRequest) -> bytes | Failure:
    match request.WhichOneof("end"):
        case "result":
            return request.result
        case "error":
            return Failure(request.error.type, request.error.message)
        case _:
            raise Invalid("a step ends with a result or an error", metadata={"field": "end"})


def _completed(name: str, attempt: int, result: bytes) -> step_pb2.StepInfo:
    return step_pb2.StepInfo(name=name, status=step_pb2.STEP_STATUS_COMPLETED, attempt=attempt, result=result)


def _step(target: Target, record: StepRecord, end: MutationDecided | None) -> step_pb2.StepInfo:
    info = step_pb2.StepInfo(
        name=record.name,
        status=step_pb2.StepStatus.ValueType(record.status),
        attempt=record.attempt,
        effect_key=effect_key(target, record.first_position),
        actor=record.actor,
        epoch=record.epoch,
        begun_seq=record.begun_seq,
        begun_unix_ms=record.begun_unix_ms,
        ended_seq=record.ended_seq,
        ended_unix_ms=record.ended_unix_ms,
        revision=messages.revision(record.ended_position or record.begun_position),
    )
    if end is not None and record.status is StepStatus.COMPLETED:
        info.result = result_of(end.raw, record)
    elif end is not None:
        info.error.type, info.error.message = failure_of(end.raw, record)
    return info
