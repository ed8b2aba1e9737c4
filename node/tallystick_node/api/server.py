"""The client port: services, health, reflection, limits and TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from tallystick.v1 import (
    branch_pb2,
    branch_pb2_grpc,
    causality_pb2,
    causality_pb2_grpc,
    cluster_pb2,
    cluster_pb2_grpc,
    context_pb2,
    context_pb2_grpc,
    lease_pb2,
    lease_pb2_grpc,
    payload_pb2,
    payload_pb2_grpc,
    retention_pb2,
    retention_pb2_grpc,
    schema_pb2,
    schema_pb2_grpc,
    state_pb2,
    state_pb2_grpc,
    step_pb2,
    step_pb2_grpc,
    team_pb2,
    team_pb2_grpc,
)
from tallystick_node.api.branch_service import BranchService
from tallystick_node.api.causality_service import CausalityService
from tallystick_node.api.cluster_service import ClusterService
from tallystick_node.api.context_service import ContextService
from tallystick_node.api.lease_service import LeaseService
from tallystick_node.api.member_service import MemberService
from tallystick_node.api.payload_service import PayloadService
from tallystick_node.api.retention_service import RetentionService
from tallystick_node.api.schema_service import SchemaService
from tallystick_node.api.state_service import StateService
from tallystick_node.api.step_service import StepService
from tallystick_node.api.team_service import TeamService
from tallystick_node.host import Host

MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""A larger request is refused by gRPC as RESOURCE_EXHAUSTED before it is read."""

MAX_RESPONSE_BYTES: Final = 24 * 1024 * 1024
"""The largest state, and the page of mutations that may come with it."""

_STATE: Final = state_pb2.DESCRIPTOR.services_by_name["StateService"].full_name
_CONTEXTS: Final = context_pb2.DESCRIPTOR.services_by_name["ContextService"].full_name
_LEASES: Final = lease_pb2.DESCRIPTOR.services_by_name["LeaseService"].full_name
_STEPS: Final = step_pb2.DESCRIPTOR.services_by_name["StepService"].full_name
_BRANCHES: Final = branch_pb2.DESCRIPTOR.services_by_name["BranchService"].full_name
_TEAMS: Final = team_pb2.DESCRIPTOR.services_by_name["TeamService"].full_name
_PAYLOADS: Final = payload_pb2.DESCRIPTOR.services_by_name["PayloadService"].full_name
_CAUSALITY: Final = causality_pb2.DESCRIPTOR.services_by_name["CausalityService"].full_name
_RETENTION: Final = retention_pb2.DESCRIPTOR.services_by_name["RetentionService"].full_name
_SCHEMAS: Final = schema_pb2.DESCRIPTOR.services_by_name["SchemaService"].full_name
_CLUSTER: Final = cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name
_MEMBER: Final = cluster_pb2.DESCRIPTOR.services_by_name["MemberService"].full_name

_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.so_reuseport", 0),  # a second process on this port must fail, not take half of the calls
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """PEM bytes: whom clients' certificates must come from, and what this node shows."""

    ca: bytes
    cert: bytes
    key: bytes


class ClientServer:
    """Serves clients. `start`, then `set_serving` as the node comes to know a leader, then `stop`."""

    def __init__(
        self,
        host: Host,
        state: StateService,
        cluster: ClusterService,
        max_concurrent_calls: int,
        members: MemberService | None = None,
        contexts: ContextService | None = None,
        leases: LeaseService | None = None,
        steps: StepService | None = None,
        branches: BranchService | None = None,
        teams: TeamService | None = None,
        payloads: PayloadService | None = None,
        causality: CausalityService | None = None,
        retention: RetentionService | None = None,
        schemas: SchemaService | None = None,
    ) -> None:
        self._server = host.make_server(_OPTIONS, max_concurrent_calls=max_concurrent_calls)
        state_pb2_grpc.add_StateServiceServicer_to_server(state, self._server)
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, self._server)
        services = [_STATE, _CLUSTER, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if members is not None:
            cluster_pb2_grpc.add_MemberServiceServicer_to_server(members, self._server)
            services.append(_MEMBER)
        if contexts is not None:
            context_pb2_grpc.add_ContextServiceServicer_to_server(contexts, self._server)
            services.append(_CONTEXTS)
        if leases is not None:
            lease_pb2_grpc.add_LeaseServiceServicer_to_server(leases, self._server)
            services.append(_LEASES)
        if steps is not None:
            step_pb2_grpc.add_StepServiceServicer_to_server(steps, self._server)
            services.append(_STEPS)
        if branches is not None:
            branch_pb2_grpc.add_BranchServiceServicer_to_server(branches, self._server)
            services.append(_BRANCHES)
        if teams is not None:
            team_pb2_grpc.add_TeamServiceServicer_to_server(teams, self._server)
            services.append(_TEAMS)
        if payloads is not None:
            payload_pb2_grpc.add_PayloadServiceServicer_to_server(payloads, self._server)
            services.append(_PAYLOADS)
        if causality is not None:
            causality_pb2_grpc.add_CausalityServiceServicer_to_server(causality, self._server)
            services.append(_CAUSALITY)
        if retention is not None:
            retention_pb2_grpc.add_RetentionServiceServicer_to_server(retention, self._server)
            services.append(_RETENTION)
        if schemas is not None:
            schema_pb2_grpc.add_SchemaServiceServicer_to_server(schemas, self._server)
            services.append(_SCHEMAS)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(services, self._server)

    async def start(self, address: str, tls: ServerTLS | None) -> None:
        """Listens on `host:port`, with mutual TLS if there is any."""
        if tls is None:
            self._server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.cert)], root_certificates=tls.ca, require_client_auth=True
            )
            self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def set_serving(self, is_serving: bool) -> None:
        """What health checks are told."""
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", _STATE, _CONTEXTS, _LEASES, _STEPS, _BRANCHES, _TEAMS, _PAYLOADS, _RETENTION, _SCHEMAS):
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls and lets those under way end, for so long at most."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
