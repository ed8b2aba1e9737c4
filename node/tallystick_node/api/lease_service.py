"""`tallystick.v1.LeaseService`: each method turns a message into one call of the lease store and back."""

from __future__ import annotations

from tallystick.v1 import lease_pb2, lease_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.leases.store import LeaseStore


class LeaseService(lease_pb2_grpc.LeaseServiceServicer):
    """See the module."""

    def __init__(self, leases: LeaseStore, headers: Headers) -> None:
        self._leases = leases
        self._headers = headers

    @calls.unary
    async def AcquireLease(  # noqa: N802
        self, request: lease_pb2.AcquireLeaseRequest, context: Context
    ) -> lease_pb2.AcquireLeaseResponse:
        done = await self._leases.acquire(
            messages.target(request.agent),
            request.holder,
            request.ttl_ms,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return lease_pb2.AcquireLeaseResponse(
            header=self._headers.make(), lease=messages.lease(done.record), replayed=done.replayed
        )

    @calls.unary
    async def RenewLease(  # noqa: N802
        self, request: lease_pb2.RenewLeaseRequest, context: Context
    ) -> lease_pb2.RenewLeaseResponse:
        done = await self._leases.renew(
            messages.target(request.agent), request.epoch, timeout_s=calls.timeout_s(context)
        )
        return lease_pb2.RenewLeaseResponse(header=self._headers.make(), lease=messages.lease(done.record))

    @calls.unary
    async def ReleaseLease(  # noqa: N802
        self, request: lease_pb2.ReleaseLeaseRequest, context: Context
    ) -> lease_pb2.ReleaseLeaseResponse:
        done = await self._leases.release(
            messages.target(request.agent),
            request.epoch,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return lease_pb2.ReleaseLeaseResponse(
            header=self._headers.make(), lease=messages.lease(done.record), replayed=done.replayed
        )

    @calls.unary
    async def DescribeLease(  # noqa: N802
        self, request: lease_pb2.DescribeLeaseRequest, context: Context
    ) -> lease_pb2.DescribeLeaseResponse:
        target = messages.target(request.agent)
        record = await self._leases.lease(target, read_from(request.options, context))
        info = messages.lease(record) if record is not None else messages.no_lease(target)
        return lease_pb2.DescribeLeaseResponse(header=self._headers.make(), lease=info)

    @calls.unary
    async def ListLeases(  # noqa: N802
        self, request: lease_pb2.ListLeasesRequest, context: Context
    ) -> lease_pb2.ListLeasesResponse:
        after = messages.target(request.after) if request.HasField("after") else None
        how = read_from(request.options, context)
        page = await self._leases.leases(request.namespace, request.prefix, after, request.limit, how)
        listed = [messages.lease(record) for record in page.items]
        return lease_pb2.ListLeasesResponse(header=self._headers.make(), leases=listed, more=page.more)
