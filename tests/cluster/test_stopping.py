"""A node that is told to stop: cleanly, in time, with its data; and what stands beside its own services."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Final

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tallystick import Consistency, ops
from tallystick.v1 import common_pb2, state_pb2
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import DEADLINE_S, raw_channel
from tests.cluster.harness_wait import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEGINNING: Final = common_pb2.Revision(group=1, position=0)
STOP_S: Final = 8.0
"""Calls under way have two seconds to end; the machine may be busy."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("stopping")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> Cluster:
    return await running.begin()


async def test_sigterm_ends_a_node_in_time_with_open_watches_and_its_data_is_there_again(cluster: Cluster) -> None:
    async with cluster.connect() as client:
        await client.agent("x").append(ops.set("/n", 1))
        await cluster.wait_equal()
        wanted = state_pb2.WatchRequest(namespace=cluster.namespace, after=BEGINNING)
        for node_id in cluster.node_ids:
            async with raw_channel(cluster.endpoint(node_id)) as channel:
                watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                    "/tallystick.v1.StateService/Watch", None, None
                )
                call = watch(wanted.SerializeToString())
                await anext(aiter(call))
                cluster.nodes[node_id].signal(signal.SIGTERM)
                assert await cluster.nodes[node_id].wait_exit(STOP_S) == 0
                assert not cluster.nodes[node_id].is_running
        await cluster.start(*cluster.node_ids)
        await cluster.wait_for_leader()
        for node_id in cluster.node_ids:
            async with cluster.connect(nodes=[node_id], consistency=Consistency.LOCAL) as reader:
                assert (await reader.agent("x").read()).state == {"n": 1}
        log_text = "".join(node.log_text() for node in cluster.nodes.values())
        assert "Traceback" not in log_text


async def test_a_leader_told_again_and_again_to_stop_stops_once(cluster: Cluster) -> None:
    async with cluster.connect() as client:
        leader = await cluster.wait_for_leader()
        exited = asyncio.ensure_future(cluster.nodes[leader].wait_exit(STOP_S))
        while not exited.done():  # up to its last moment, when its loop is closed too
            cluster.nodes[leader].signal(signal.SIGTERM)
            cluster.nodes[leader].signal(signal.SIGINT)
            await asyncio.sleep(0.001)
        assert await exited == 0
        await client.agent("x").append(ops.set("/n", 1))  # the others go on
        assert "Traceback" not in cluster.nodes[leader].log_text()


async def test_health_and_reflection_answer(cluster: Cluster) -> None:
    async with raw_channel(cluster.endpoint("a")) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )

        async def serves(wanted: int) -> bool:
            answers = [
                await check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
                for name in ("", "tallystick.v1.StateService")
            ]
            return all(answer.status == wanted for answer in answers)

        serving = health_pb2.HealthCheckResponse.SERVING
        await eventually(lambda: serves(serving), within_s=DEADLINE_S, what="healthy with a leader")
        info = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = info(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=DEADLINE_S)
        listed = {service.name async for answer in asked for service in answer.list_services_response.service}
        assert {"tallystick.v1.StateService", "tallystick.v1.ClusterService", "grpc.health.v1.Health"} <= listed
        cluster.kill("b", "c")
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        await eventually(lambda: serves(not_serving), within_s=DEADLINE_S, what="unhealthy without a majority")
