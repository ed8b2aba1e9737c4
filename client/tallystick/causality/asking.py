"""Questions of causality: what happened before what, and what changed of what was read, once or again and again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from tallystick._backoff import ATTEMPT_S, Failure, Retry
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._methods import changed_method, compare_method
from tallystick._values import Consistency
from tallystick.causality import convert
from tallystick.causality.observing import CONTEXTS_CARRIED, LOGS_CARRIED
from tallystick.causality.values import ChangeKind, Changes, Comparison, LogPoint, Observed
from tallystick.errors import Invalid, Unavailable
from tallystick.v1 import causality_pb2

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamCall

    Call = UnaryStreamCall[causality_pb2.WatchChangedRequest, causality_pb2.ChangedResponse]


async def compare(
    calls: Calls, namespace: str, a: LogPoint, b: LogPoint, consistency: Consistency, timeout_s: float | None
) -> Comparison:
    """How one mutation stands to another."""
    request = causality_pb2.CompareRequest(
        a=convert.point_message(namespace, a),
        b=convert.point_message(namespace, b),
        options=calls.session.read_options(consistency),
    )
    return convert.comparison(await calls.read(compare_method, request, consistency=consistency, timeout_s=timeout_s))


async def changed(
    calls: Calls, namespace: str, observed: Observed, consistency: Consistency, timeout_s: float | None
) -> Changes:
    """What is no longer as it was read; asked in parts, where it is much."""
    found = Changes()
    for part in _parts(observed):
        request = causality_pb2.ChangedRequest(
            namespace=namespace,
            observed=convert.observed_message(part),
            options=calls.session.read_options(consistency),
        )
        answer = await calls.read(changed_method, request, consistency=consistency, timeout_s=timeout_s)
        told = convert.changes(answer)
        found = Changes(found.logs + told.logs, found.contexts + told.contexts)
    return found


async def watch_changed(
    calls: Calls, namespace: str, observed: Observed, timeout_s: float | None
) -> AsyncGenerator[Changes, None]:
    """The same at once, and again whenever something of it changes; it resumes elsewhere when a node fails.

    Raises:
        Invalid: it is more than one watch can look after.
    """
    if len(observed.logs) > LOGS_CARRIED or len(observed.contexts) > CONTEXTS_CARRIED:
        raise Invalid(
            f"a watch looks after {LOGS_CARRIED} logs and {CONTEXTS_CARRIED} contexts at most",
            metadata={"field": "observed", "limit": str(LOGS_CARRIED)},
        )
    retry: Retry | None = None
    while True:
        calls.check_open()
        endpoint = calls.endpoints.for_any(calls.outside.clock())
        request = causality_pb2.WatchChangedRequest(
            namespace=namespace,
            observed=convert.observed_message(observed),
            options=calls.session.read_options(Consistency.SESSION),
        )
        try:
            async with aclosing(_responses(calls, endpoint, request)) as responses:
                async for response in responses:
                    retry = None
                    calls.answered(endpoint, response.header)
                    calls.session.saw(response.header.revision)
                    told = convert.changes(response)
                    observed = _told(observed, told)
                    if told:
                        yield told
        except AttemptError as attempt:
            calls.failed(endpoint, attempt.failure)
            if retry is None:
                retry = Retry(calls.outside.clock() + (math.inf if timeout_s is None else timeout_s), calls.outside.rng)
            await asyncio.sleep(retry.after(attempt.failure, calls.outside.clock()))


def _parts(observed: Observed) -> list[Observed]:
    """As much as one question may name."""
    count = max(-(-len(observed.logs) // LOGS_CARRIED), -(-len(observed.contexts) // CONTEXTS_CARRIED))
    return [
        Observed(
            observed.logs[at * LOGS_CARRIED : (at + 1) * LOGS_CARRIED],
            observed.contexts[at * CONTEXTS_CARRIED : (at + 1) * CONTEXTS_CARRIED],
        )
        for at in range(count)
    ]


def _told(observed: Observed, told: Changes) -> Observed:
    """What is to be asked after the next break, so that nothing is told twice. What is gone for good is not asked."""
    logs = {(each.agent, each.branch): each for each in told.logs}
    contexts = {each.name: each for each in told.contexts}
    kept = [
        replace(each, seq=logs[each.agent, each.branch].seq, hash=logs[each.agent, each.branch].hash)
        if (each.agent, each.branch) in logs
        else each
        for each in observed.logs
    ]
    rest = [
        replace(each, cursor_bytes=contexts[each.name].cursor_bytes) if each.name in contexts else each
        for each in observed.contexts
        if each.name not in contexts or contexts[each.name].kind is ChangeKind.MORE
    ]
    return Observed(tuple(kept), tuple(rest))


async def _responses(
    calls: Calls, endpoint: Endpoint, request: causality_pb2.WatchChangedRequest
) -> AsyncGenerator[causality_pb2.ChangedResponse, None]:
    """What one node sends.

    Raises:
        AttemptError: the stream broke; it has no other end.
    """
    await calls.ready(endpoint, ATTEMPT_S)
    call: Call = endpoint.causality.WatchChanged(request)
    before = cancellations()
    try:
        while True:
            response = await call.read()
            if not isinstance(response, causality_pb2.ChangedResponse):
                raise AttemptError(Failure(Unavailable(f"{endpoint.address} ended the watch")))
            yield response
    except grpc.aio.AioRpcError as rpc:
        raise_if_cancelled(before)
        raise AttemptError(failure_of(rpc, writes=False, endpoint=endpoint.address)) from rpc
    except asyncio.CancelledError:
        calls.check_cut(writes=False)
        raise
    finally:
        call.cancel()
