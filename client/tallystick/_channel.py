"""One endpoint: its channel, its prebuilt calls, and whether it is worth asking.

Rules of this file:
- Calls leave only over a connected channel (`connected` first), so what failed before is known to have done nothing.
- The task that watches a channel connect is never cancelled: gRPC keeps a pointer to what it would wake. Closing the
  channel ends it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import grpc

from tallystick._outside import Machine, Outside
from tallystick.errors import Invalid
from tallystick.v1 import (
    branch_pb2_grpc,
    causality_pb2_grpc,
    cluster_pb2_grpc,
    context_pb2_grpc,
    lease_pb2_grpc,
    payload_pb2_grpc,
    retention_pb2_grpc,
    schema_pb2_grpc,
    state_pb2_grpc,
    step_pb2_grpc,
    team_pb2_grpc,
)

if TYPE_CHECKING:
    from tallystick.v1.branch_pb2_grpc import BranchServiceAsyncStub
    from tallystick.v1.causality_pb2_grpc import CausalityServiceAsyncStub
    from tallystick.v1.cluster_pb2_grpc import ClusterServiceAsyncStub, MemberServiceAsyncStub
    from tallystick.v1.context_pb2_grpc import ContextServiceAsyncStub
    from tallystick.v1.lease_pb2_grpc import LeaseServiceAsyncStub
    from tallystick.v1.payload_pb2_grpc import PayloadServiceAsyncStub
    from tallystick.v1.retention_pb2_grpc import RetentionServiceAsyncStub
    from tallystick.v1.schema_pb2_grpc import SchemaServiceAsyncStub
    from tallystick.v1.state_pb2_grpc import StateServiceAsyncStub
    from tallystick.v1.step_pb2_grpc import StepServiceAsyncStub
    from tallystick.v1.team_pb2_grpc import TeamServiceAsyncStub

DEFAULT_PORT: Final = 7420
MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 24 * 1024 * 1024  # the largest state, and a page of mutations with it

_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.enable_retries", 0),  # we retry, with the key; two layers of retries multiply
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also how long a connection attempt may take
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 10_000),  # finds a frozen or vanished node below an idle watch
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_REST_INITIAL_S: Final = 0.05
_REST_MAX_S: Final = 5.0
_REST_DOUBLINGS: Final = 7  # 0.05 s * 2**7 > 5 s


def parse_address(text: str) -> str:
    """`host:port`, with the default port if there is none.

    Raises:
        Invalid: the text is no address.
    """
    text = text.strip()
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # no port; "[::1]" has colons of its own
        host, port = text, str(DEFAULT_PORT)
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not host or bare_ipv6 or any(map(str.isspace, host)) or not (port.isascii() and port.isdecimal()):
        raise Invalid(f"not an endpoint (host:port): {text!r}", metadata={"field": "endpoints"})
    if not 0 < int(port) < 65536:
        raise Invalid(f"no such port: {text!r}", metadata={"field": "endpoints"})
    return f"{host}:{int(port)}"


class Endpoint:
    """An address, and one channel to it, opened when it is first needed."""

    def __init__(
        self, address: str, credentials: grpc.ChannelCredentials | None, outside: Outside | None = None
    ) -> None:
        self.address = address
        self.rests_until_s = 0.0
        self._failures = 0
        self._credentials = credentials
        self._outside: Outside = outside or Machine()
        self._channel: grpc.aio.Channel | None = None
        self._connecting: asyncio.Task[bool] | None = None
        self._state: StateServiceAsyncStub | None = None
        self._cluster: ClusterServiceAsyncStub | None = None
        self._members: MemberServiceAsyncStub | None = None
        self._contexts: ContextServiceAsyncStub | None = None
        self._leases: LeaseServiceAsyncStub | None = None
        self._branches: BranchServiceAsyncStub | None = None
        self._steps: StepServiceAsyncStub | None = None
        self._teams: TeamServiceAsyncStub | None = None
        self._schemas: SchemaServiceAsyncStub | None = None
        self._causality: CausalityServiceAsyncStub | None = None
        self._payloads: PayloadServiceAsyncStub | None = None
        self._retention: RetentionServiceAsyncStub | None = None

    @property
    def state(self) -> StateServiceAsyncStub:
        """The calls of the state service; the channel is open."""
        if self._state is None:
            raise RuntimeError("not connected")
        return self._state

    @property
    def cluster(self) -> ClusterServiceAsyncStub:
        """The calls of the cluster service; the channel is open."""
        if self._cluster is None:
            raise RuntimeError("not connected")
        return self._cluster

    @property
    def members(self) -> MemberServiceAsyncStub:
        """The calls of the member service; the channel is open."""
        if self._members is None:
            raise RuntimeError("not connected")
        return self._members

    @property
    def contexts(self) -> ContextServiceAsyncStub:
        """The calls of the context service; the channel is open."""
        if self._contexts is None:
            raise RuntimeError("not connected")
        return self._contexts

    @property
    def leases(self) -> LeaseServiceAsyncStub:
        """The calls of the lease service; the channel is open."""
        if self._leases is None:
            raise RuntimeError("not connected")
        return self._leases

    @property
    def steps(self) -> StepServiceAsyncStub:
        """The calls of the step service; the channel is open."""
        if self._steps is None:
            raise RuntimeError("not connected")
        return self._steps

    @property
    def branches(self) -> BranchServiceAsyncStub:
        """The calls of the branch service; the channel is open."""
        if self._branches is None:
            raise RuntimeError("not connected")
        return self._branches

    @property
    def teams(self) -> TeamServiceAsyncStub:
        """The calls of the team service; the channel is open."""
        if self._teams is None:
            raise RuntimeError("not connected")
        return self._teams

    @property
    def causality(self) -> CausalityServiceAsyncStub:
        """The calls of the causality service; the channel is open."""
        if self._causality is None:
            raise RuntimeError("not connected")
        return self._causality

    @property
    def schemas(self) -> SchemaServiceAsyncStub:
        """The calls of the schema service; the channel is open."""
        if self._schemas is None:
            raise RuntimeError("not connected")
        return self._schemas

    @property
    def payloads(self) -> PayloadServiceAsyncStub:
        """The calls of the payload service; the channel is open."""
        if self._payloads is None:
            raise RuntimeError("not connected")
        return self._payloads

    @property
    def retention(self) -> RetentionServiceAsyncStub:
        """The calls of the retention service; the channel is open."""
        if self._retention is None:
            raise RuntimeError("not connected")
        return self._retention

    def is_connected(self) -> bool:
        """A call may leave now."""
        channel = self._channel
        return channel is not None and channel.get_state() is grpc.ChannelConnectivity.READY

    async def connect(self, timeout_s: float) -> bool:
        """Waits until a call may leave; False if the endpoint cannot be reached, or not within this time."""
        channel = self._open()
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(_connected(channel))
        task = self._connecting
        done, _ = await asyncio.wait((task,), timeout=timeout_s)  # wait() leaves the task alone when we are cancelled
        return bool(done) and task.result() and self.is_connected()

    def succeeded(self) -> None:
        """It answered."""
        self._failures = 0
        self.rests_until_s = 0.0

    def failed(self, now_s: float) -> None:
        """It did not: let it rest, longer each time. (Many calls that fail together count once.)"""
        if now_s < self.rests_until_s:
            return
        self.rests_until_s = now_s + min(_REST_MAX_S, _REST_INITIAL_S * 2 ** min(self._failures, _REST_DOUBLINGS))
        self._failures += 1

    async def close(self) -> None:
        """Ends the channel and every call on it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)
        if self._connecting is not None:
            await asyncio.wait((self._connecting,), timeout=1.0)

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = self._outside.open_channel(self.address, self._credentials, _OPTIONS)
            self._state = state_pb2_grpc.StateServiceStub(self._channel)
            self._cluster = cluster_pb2_grpc.ClusterServiceStub(self._channel)
            self._members = cluster_pb2_grpc.MemberServiceStub(self._channel)
            self._contexts = context_pb2_grpc.ContextServiceStub(self._channel)
            self._leases = lease_pb2_grpc.LeaseServiceStub(self._channel)
            self._teams = team_pb2_grpc.TeamServiceStub(self._channel)
            self._payloads = payload_pb2_grpc.PayloadServiceStub(self._channel)
            self._branches = branch_pb2_grpc.BranchServiceStub(self._channel)
            self._steps = step_pb2_grpc.StepServiceStub(self._channel)
            self._schemas = schema_pb2_grpc.SchemaServiceStub(self._channel)
            self._causality = causality_pb2_grpc.CausalityServiceStub(self._channel)
            self._retention = retention_pb2_grpc.RetentionServiceStub(self._channel)
        return self._channel


async def _connected(channel: grpc.aio.Channel) -> bool:
    while True:
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return True
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            return False
        await channel.wait_for_state_change(state)
