"""A client's task that is cancelled as its call fails ends all the same, though gRPC answers it with the failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import aclosing
from typing import cast

import grpc
import pytest

import tallystick
from tallystick import Client, ops
from tallystick._outside import Machine

DEADLINE_S = 20.0
NEVER_S = 3600.0


class Failing:
    """A call that fails when its task is cancelled, as gRPC's does whose status has come and was not told yet."""

    def __init__(self, asked: asyncio.Event, *, hangs: bool) -> None:
        self._asked, self._hangs = asked, hangs

    async def read(self) -> object:
        self._asked.set()
        try:
            if self._hangs:
                return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            pass  # swallowed
        nothing = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "refused", "")

    async def write(self, _request: object) -> None:
        pass

    def __await__(self) -> Generator[object, None, object]:
        return self.read().__await__()

    def cancel(self) -> bool:
        return False


class Dead(Machine):
    """Every node can be reached, and every call to it is such a call."""

    def __init__(self, *, hangs: bool = True) -> None:
        super().__init__()
        self._hangs = hangs
        self.asked = asyncio.Event()

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        return cast("grpc.aio.Channel", self)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    def stream_stream(self, *_method: object, **_options: object) -> Callable[..., Failing]:
        return lambda *_request, **_options: Failing(self.asked, hangs=self._hangs)

    unary_unary = unary_stream = stream_stream

    async def close(self, _grace: float | None) -> None:
        pass


def opened(outside: Dead) -> Client:
    return Client(
        ["127.0.0.1:1"],
        namespace="demo",
        tls=None,
        consistency=tallystick.Consistency.SESSION,
        timeout_s=DEADLINE_S,
        actor="me",
        outside=outside,
    )


async def write(client: Client) -> None:
    await client.agent("a").append(ops.set("/n", 1), timeout_s=NEVER_S)


async def watch(client: Client) -> None:
    async with aclosing(client.watch(after=tallystick.Revision(1, 1))) as events:
        await anext(events)


async def pull(client: Client) -> None:
    await client.stored_context("plan").show()


@pytest.mark.parametrize("begin", [write, watch, pull])
async def test_what_is_cancelled_as_its_call_fails_ends(
    begin: Callable[[Client], Coroutine[object, object, None]],
) -> None:
    outside = Dead()
    async with opened(outside) as client:
        running = asyncio.ensure_future(begin(client))
        await asyncio.wait_for(outside.asked.wait(), DEADLINE_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, DEADLINE_S)


async def test_a_timeout_around_a_call_holds_as_the_call_fails() -> None:
    async with opened(Dead()) as client, asyncio.timeout(DEADLINE_S):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await write(client)


async def test_who_was_cancelled_before_may_still_call_and_call_again() -> None:
    outside = Dead(hangs=False)

    async def clean_up(client: Client) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            try:
                await client.agent("a").append(ops.set("/n", 1), timeout_s=0.2)
            except tallystick.Undecided:
                return "told what became of it"
        return ""

    async with opened(outside) as client:
        running = asyncio.ensure_future(clean_up(client))
        await asyncio.sleep(0)
        running.cancel()
        assert await asyncio.wait_for(running, DEADLINE_S) == "told what became of it"
