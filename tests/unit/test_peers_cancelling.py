"""A task that is cancelled as its call fails ends all the same, though gRPC answers it with the failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import cast

import grpc
import pytest

from tallystick.peer.v1.peer_pb2 import CompareContextsRequest
from tallystick_node.host import Options, RealHost
from tallystick_node.peers.contexts.comparer import Comparer
from tallystick_node.peers.contexts.link import Around, ContextLink
from tallystick_node.peers.contexts.outbox import Outbox
from tallystick_node.peers.link import PeerLink
from tallystick_node.peers.snapshot_client import fetch_snapshot
from tests.unit.context_peers_kit import FakeDocuments
from tests.unit.peers_kit import DEADLINE_S, Recorder, local

NOWHERE = "127.0.0.1:1"


class Failing:
    """A call that fails when its task is cancelled, as gRPC's does whose status has come and was not told yet."""

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked

    async def read(self) -> object:
        self._asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "refused", "") from None

    def __await__(self) -> Generator[object, None, object]:
        return self.read().__await__()

    def cancel(self) -> bool:
        return False


class Dead(RealHost):
    """Every call to a peer is such a call."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    def open_channel(
        self, endpoint: str, credentials: grpc.ChannelCredentials | None, options: Options
    ) -> grpc.aio.Channel:
        return cast("grpc.aio.Channel", self)

    def stream_stream(self, *_method: object) -> Callable[..., Failing]:
        return lambda *_request, **_options: Failing(self.asked)

    unary_unary = unary_stream = stream_stream

    async def close(self, _grace: float | None) -> None:
        pass


def peer_link(host: Dead, _folder: Path) -> Coroutine[object, object, object]:
    return PeerLink(local("a"), "b", NOWHERE, None, Recorder(), host=host).run()


def context_link(host: Dead, _folder: Path) -> Coroutine[object, object, object]:
    documents = FakeDocuments()
    around = Around(
        local("a"), documents, documents, documents.epoch_of, lambda _guid: 0, lambda: 0, documents.begun.append, host
    )
    return ContextLink(around, "b", Outbox()).run(cast("grpc.aio.Channel", host))


def comparison(host: Dead, _folder: Path) -> Coroutine[object, object, object]:
    return Comparer(local("a"), "b", cast("grpc.aio.Channel", host))(CompareContextsRequest())


def snapshot(host: Dead, folder: Path) -> Coroutine[object, object, object]:
    return fetch_snapshot(local("a"), "b", NOWHERE, None, 1, folder / "copy", max_bytes=1000, host=host)


@pytest.mark.parametrize("begin", [peer_link, context_link, comparison, snapshot])
async def test_what_is_cancelled_as_its_call_fails_ends(
    begin: Callable[[Dead, Path], Coroutine[object, object, object]], tmp_path: Path
) -> None:
    host = Dead()
    running = asyncio.ensure_future(begin(host, tmp_path))
    await asyncio.wait_for(host.asked.wait(), DEADLINE_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, DEADLINE_S)
