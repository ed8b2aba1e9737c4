"""A watch: what was decided after a cursor, each event once and in order, over any number of nodes.

Rules of this file:
- The cursor moves before an event is handed out, and by progress marks; a stream that breaks is resumed after the
  cursor. What is not above the cursor was seen already and is dropped.
- A watch "from now on" first asks for the present revision, so that even a stream that breaks at once leaves no gap.
- A refusal ends the watch (`Compacted`: rehydrate and watch from there). Nothing else does, unless a timeout was given.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from tallystick import _convert
from tallystick._backoff import ATTEMPT_S, Failure, Retry
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._events import BranchDeletedEvent, CheckpointEvent, DeletedEvent, Event, MutationEvent
from tallystick._failures import failure_of
from tallystick._methods import list_agents_method
from tallystick._values import Consistency, Revision
from tallystick.causality.observing import Observing
from tallystick.errors import Unavailable
from tallystick.v1 import state_pb2

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamCall

    Call = UnaryStreamCall[state_pb2.WatchRequest, state_pb2.WatchResponse]


class Cursor:
    """Where a watch is: what to ask for next, and what was seen."""

    def __init__(self, after: Revision) -> None:
        self.after = after

    def moves_to(self, revision: Revision) -> bool:
        """Moves there, if that is forward (or in another group, whose history is another)."""
        if revision.group == self.after.group and revision.position <= self.after.position:
            return False
        self.after = revision
        return True


async def watch(
    calls: Calls, request: state_pb2.WatchRequest, after: Revision | None, timeout_s: float | None
) -> AsyncGenerator[Event, None]:
    """Yields events until it is closed or refused; `request` has no cursor yet."""
    cursor = Cursor(after if after is not None else await _now(calls, request.namespace))
    retry: Retry | None = None
    while True:
        calls.check_open()
        endpoint = calls.endpoints.for_any(calls.outside.clock())
        request.after.CopyFrom(_convert.revision_message(cursor.after))
        try:
            async with aclosing(_responses(calls, endpoint, request)) as responses:
                async for response in responses:
                    retry = None
                    endpoint.succeeded()
                    for event in map(_convert.event, response.events):
                        if cursor.moves_to(event.revision):
                            calls.session.saw(event.revision)
                            _observe(calls.observing, event)
                            yield event
                    if response.HasField("cursor"):
                        cursor.moves_to(_convert.revision(response.cursor))
        except AttemptError as attempt:
            calls.failed(endpoint, attempt.failure)
            if retry is None:
                retry = Retry(calls.outside.clock() + (math.inf if timeout_s is None else timeout_s), calls.outside.rng)
            await asyncio.sleep(retry.after(attempt.failure, calls.outside.clock()))


async def _now(calls: Calls, namespace: str) -> Revision:
    """The present revision, read from the leader."""
    request = state_pb2.ListAgentsRequest(
        namespace=namespace, options=calls.session.read_options(Consistency.LINEARIZABLE), limit=1
    )
    answer = await calls.read(list_agents_method, request, consistency=Consistency.LINEARIZABLE, timeout_s=None)
    return _convert.revision(answer.header.revision)


async def _responses(
    calls: Calls, endpoint: Endpoint, request: state_pb2.WatchRequest
) -> AsyncGenerator[state_pb2.WatchResponse, None]:
    """What one node sends.

    Raises:
        AttemptError: the stream broke; it has no other end.
    """
    await calls.ready(endpoint, ATTEMPT_S)
    call: Call = endpoint.state.Watch(request)
    before = cancellations()
    try:
        while True:
            response = await call.read()
            if not isinstance(response, state_pb2.WatchResponse):
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


def _observe(observing: Observing, event: Event) -> None:
    """What is handed out is read."""
    match event:
        case MutationEvent():
            observing.saw(event.agent, event.branch, event.mutation.seq, event.mutation.hash)
        case CheckpointEvent():
            observing.saw(event.agent, event.branch, event.checkpoint.seq, event.checkpoint.hash)
        case DeletedEvent():
            observing.gone(event.agent)
        case BranchDeletedEvent():
            observing.gone(event.agent, event.branch)
        case _:
            pass
