"""The unary calls of an endpoint, by name: each gives the prebuilt call of the channel that is open now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick._channel import Endpoint

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable as Unary

    from tallystick.v1 import cluster_pb2 as cluster
    from tallystick.v1 import state_pb2 as state


def append_method(endpoint: Endpoint) -> Unary[state.AppendRequest, state.AppendResponse]:
    """StateService.Append."""
    return endpoint.state.Append


def checkpoint_method(endpoint: Endpoint) -> Unary[state.CheckpointRequest, state.CheckpointResponse]:
    """StateService.Checkpoint."""
    return endpoint.state.Checkpoint


def delete_agent_method(endpoint: Endpoint) -> Unary[state.DeleteAgentRequest, state.DeleteAgentResponse]:
    """StateService.DeleteAgent."""
    return endpoint.state.DeleteAgent


def read_method(endpoint: Endpoint) -> Unary[state.ReadRequest, state.ReadResponse]:
    """StateService.Read."""
    return endpoint.state.Read


def get_checkpoint_method(endpoint: Endpoint) -> Unary[state.GetCheckpointRequest, state.GetCheckpointResponse]:
    """StateService.GetCheckpoint."""
    return endpoint.state.GetCheckpoint


def list_checkpoints_method(endpoint: Endpoint) -> Unary[state.ListCheckpointsRequest, state.ListCheckpointsResponse]:
    """StateService.ListCheckpoints."""
    return endpoint.state.ListCheckpoints


def list_mutations_method(endpoint: Endpoint) -> Unary[state.ListMutationsRequest, state.ListMutationsResponse]:
    """StateService.ListMutations."""
    return endpoint.state.ListMutations


def list_agents_method(endpoint: Endpoint) -> Unary[state.ListAgentsRequest, state.ListAgentsResponse]:
    """StateService.ListAgents."""
    return endpoint.state.ListAgents


def status_method(endpoint: Endpoint) -> Unary[cluster.StatusRequest, cluster.StatusResponse]:
    """ClusterService.Status."""
    return endpoint.cluster.Status


def add_member_method(endpoint: Endpoint) -> Unary[cluster.AddMemberRequest, cluster.MembersResponse]:
    """MemberService.AddMember."""
    return endpoint.members.AddMember


def promote_member_method(endpoint: Endpoint) -> Unary[cluster.PromoteMemberRequest, cluster.MembersResponse]:
    """MemberService.PromoteMember."""
    return endpoint.members.PromoteMember


def remove_member_method(endpoint: Endpoint) -> Unary[cluster.RemoveMemberRequest, cluster.MembersResponse]:
    """MemberService.RemoveMember."""
    return endpoint.members.RemoveMember


def transfer_leadership_method(
    endpoint: Endpoint,
) -> Unary[cluster.TransferLeadershipRequest, cluster.TransferLeadershipResponse]:
    """MemberService.TransferLeadership."""
    return endpoint.members.TransferLeadership
