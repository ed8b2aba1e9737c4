"""The HTTP port of a real node: health checks, and who is not let in."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tallystick.testing.local_links import free_addresses
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import DEADLINE_S
from tests.cluster.harness_wait import eventually


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310 - our own node
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _figures(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310 - our own node
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


async def test_health_and_strangers(tmp_path: Path) -> None:
    address = next(free_addresses())
    flags = [f"--http-address={address}", "--web-origin=https://board.example"]
    async with Cluster(tmp_path, node_ids=("a",), flags=flags) as cluster:
        await cluster.wait_for_leader()

        async def serves() -> bool:
            return await asyncio.to_thread(_status, f"http://{address}/healthz") == 200

        await eventually(serves, within_s=DEADLINE_S, what="healthy with a leader")
        assert await asyncio.to_thread(_status, f"http://{address}/nothing") == 404

        async def leads_and_holds_contexts() -> bool:
            figures = await asyncio.to_thread(_figures, f"http://{address}/metrics")
            return figures["tallystick_is_leader"] == figures["tallystick_contexts_up"] == 1

        await eventually(leads_and_holds_contexts, within_s=DEADLINE_S, what="the figures of a node that leads")
        for origin in (None, "https://board.example"):  # let in, and told that there is no such context
            async with connect(f"ws://{address}/yjs/demo/none", origin=_origin(origin)) as socket:
                await asyncio.wait_for(socket.wait_closed(), DEADLINE_S)
                assert socket.close_code == 4404
                assert "CONTEXT_NOT_FOUND" in (socket.close_reason or "")
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{address}/yjs/demo/none", origin=_origin("https://evil.example"))
        assert refused.value.response.status_code == 403


def _origin(text: str | None) -> Origin | None:
    return None if text is None else Origin(text)
