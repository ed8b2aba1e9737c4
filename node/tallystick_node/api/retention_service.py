"""`tallystick.v1.RetentionService`: each method turns a message into one call of the retention store and back."""

from __future__ import annotations

from tallystick.errors import NoLeader
from tallystick.v1 import retention_pb2, retention_pb2_grpc
from tallystick_node.api import calls, messages, retention_messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.retention_records import RetentionPolicy, RetentionRecord
from tallystick_node.retention.keeper import RetentionKeeper
from tallystick_node.retention.planner import Planner
from tallystick_node.retention.store import RetentionStore
from tallystick_node.wire.fields import check_name


class RetentionService(retention_pb2_grpc.RetentionServiceServicer):
    """See the module."""

    def __init__(self, retention: RetentionStore, planner: Planner, keeper: RetentionKeeper, headers: Headers) -> None:
        self._retention = retention
        self._planner = planner
        self._keeper = keeper
        self._headers = headers

    @calls.unary
    async def SetRetention(  # noqa: N802
        self, request: retention_pb2.SetRetentionRequest, context: Context
    ) -> retention_pb2.SetRetentionResponse:
        done = await self._retention.set_policy(
            request.namespace,
            policy_of(request.policy),
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return retention_pb2.SetRetentionResponse(
            header=self._headers.make(), retention=_info(done.record), replayed=done.replayed
        )

    @calls.unary
    async def GetRetention(  # noqa: N802
        self, request: retention_pb2.GetRetentionRequest, context: Context
    ) -> retention_pb2.GetRetentionResponse:
        record = await self._retention.policy(request.namespace, read_from(request.options, context))
        info = _info(record) if record is not None else retention_pb2.RetentionInfo(namespace=request.namespace)
        return retention_pb2.GetRetentionResponse(header=self._headers.make(), retention=info)

    @calls.unary
    async def PlanRetention(  # noqa: N802
        self, request: retention_pb2.PlanRetentionRequest, context: Context
    ) -> retention_pb2.PlanRetentionResponse:
        page = await self._planner.plan(
            request.namespace,
            policy_of(request.policy) if request.HasField("policy") else None,
            request.prefix,
            messages.target(request.after) if request.HasField("after") else None,
            request.limit,
            read_from(request.options, context),
        )
        return retention_pb2.PlanRetentionResponse(
            header=self._headers.make(),
            policy=retention_messages.policy(page.policy),
            logs=map(retention_messages.planned, page.logs),
            more=page.more,
            last=messages.agent_ref(page.last) if page.last is not None else None,
        )

    @calls.unary
    async def RunRetention(  # noqa: N802
        self, request: retention_pb2.RunRetentionRequest, context: Context
    ) -> retention_pb2.RunRetentionResponse:
        check_name("namespace", request.namespace)
        if request.prefix:
            check_name("prefix", request.prefix)
        try:
            ran = await self._keeper.run_now(request.namespace, request.prefix, calls.timeout_s(context))
        except NoLeader as error:  # the caller is to ask the leader
            error.metadata.setdefault("leader_endpoint", self._headers.make().leader_endpoint)
            raise
        return retention_pb2.RunRetentionResponse(
            header=self._headers.make(), logs=map(retention_messages.retained, ran.logs), more=ran.more
        )

    @calls.unary
    async def PinCheckpoint(  # noqa: N802
        self, request: retention_pb2.PinCheckpointRequest, context: Context
    ) -> retention_pb2.PinCheckpointResponse:
        done = await self._retention.pin(
            messages.target(request.agent),
            request.name,
            is_pinned=request.is_pinned,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return retention_pb2.PinCheckpointResponse(
            header=self._headers.make(), revision=messages.revision(done.position), replayed=done.replayed
        )


def policy_of(message: retention_pb2.RetentionPolicy) -> RetentionPolicy:
    """A policy as it was asked for."""
    return RetentionPolicy(message.max_age_s, message.max_mutations, message.max_log_bytes, message.archive)


def _info(record: RetentionRecord) -> retention_pb2.RetentionInfo:
    return retention_pb2.RetentionInfo(
        namespace=record.namespace,
        policy=retention_messages.policy(record.policy),
        actor=record.actor,
        time_unix_ms=record.time_unix_ms,
        revision=messages.revision(record.position),
    )
