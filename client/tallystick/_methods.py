"""The unary calls of an endpoint, by name: each gives the prebuilt call of the channel that is open now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick._channel import Endpoint

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable as Unary

    from tallystick.v1 import branch_pb2 as branch
    from tallystick.v1 import causality_pb2 as causality
    from tallystick.v1 import cluster_pb2 as cluster
    from tallystick.v1 import context_pb2 as context
    from tallystick.v1 import lease_pb2 as lease
    from tallystick.v1 import payload_pb2 as payload
    from tallystick.v1 import retention_pb2 as retention
    from tallystick.v1 import schema_pb2 as schema
    from tallystick.v1 import state_pb2 as state
    from tallystick.v1 import step_pb2 as step
    from tallystick.v1 import team_pb2 as team


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


def acquire_lease_method(endpoint: Endpoint) -> Unary[lease.AcquireLeaseRequest, lease.AcquireLeaseResponse]:
    """LeaseService.AcquireLease."""
    return endpoint.leases.AcquireLease


def renew_lease_method(endpoint: Endpoint) -> Unary[lease.RenewLeaseRequest, lease.RenewLeaseResponse]:
    """LeaseService.RenewLease."""
    return endpoint.leases.RenewLease


def release_lease_method(endpoint: Endpoint) -> Unary[lease.ReleaseLeaseRequest, lease.ReleaseLeaseResponse]:
    """LeaseService.ReleaseLease."""
    return endpoint.leases.ReleaseLease


def describe_lease_method(endpoint: Endpoint) -> Unary[lease.DescribeLeaseRequest, lease.DescribeLeaseResponse]:
    """LeaseService.DescribeLease."""
    return endpoint.leases.DescribeLease


def list_leases_method(endpoint: Endpoint) -> Unary[lease.ListLeasesRequest, lease.ListLeasesResponse]:
    """LeaseService.ListLeases."""
    return endpoint.leases.ListLeases


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


def create_context_method(endpoint: Endpoint) -> Unary[context.CreateContextRequest, context.CreateContextResponse]:
    """ContextService.CreateContext."""
    return endpoint.contexts.CreateContext


def describe_context_method(
    endpoint: Endpoint,
) -> Unary[context.DescribeContextRequest, context.DescribeContextResponse]:
    """ContextService.DescribeContext."""
    return endpoint.contexts.DescribeContext


def list_contexts_method(endpoint: Endpoint) -> Unary[context.ListContextsRequest, context.ListContextsResponse]:
    """ContextService.ListContexts."""
    return endpoint.contexts.ListContexts


def delete_context_method(endpoint: Endpoint) -> Unary[context.DeleteContextRequest, context.DeleteContextResponse]:
    """ContextService.DeleteContext."""
    return endpoint.contexts.DeleteContext


def allocate_writers_method(
    endpoint: Endpoint,
) -> Unary[context.AllocateWritersRequest, context.AllocateWritersResponse]:
    """ContextService.AllocateWriters."""
    return endpoint.contexts.AllocateWriters


def history_method(endpoint: Endpoint) -> Unary[context.HistoryRequest, context.HistoryResponse]:
    """ContextService.History."""
    return endpoint.contexts.History


def blame_method(endpoint: Endpoint) -> Unary[context.BlameRequest, context.BlameResponse]:
    """ContextService.Blame."""
    return endpoint.contexts.Blame


def list_overlaps_method(endpoint: Endpoint) -> Unary[context.ListOverlapsRequest, context.ListOverlapsResponse]:
    """ContextService.ListOverlaps."""
    return endpoint.contexts.ListOverlaps


def restore_context_method(endpoint: Endpoint) -> Unary[context.RestoreContextRequest, context.RestoreContextResponse]:
    """ContextService.RestoreContext."""
    return endpoint.contexts.RestoreContext


def save_version_method(endpoint: Endpoint) -> Unary[context.SaveVersionRequest, context.SaveVersionResponse]:
    """ContextService.SaveVersion."""
    return endpoint.contexts.SaveVersion


def list_versions_method(endpoint: Endpoint) -> Unary[context.ListVersionsRequest, context.ListVersionsResponse]:
    """ContextService.ListVersions."""
    return endpoint.contexts.ListVersions


def verify_contexts_method(endpoint: Endpoint) -> Unary[context.VerifyContextsRequest, context.VerifyContextsResponse]:
    """ContextService.VerifyContexts."""
    return endpoint.contexts.VerifyContexts


def compact_context_method(endpoint: Endpoint) -> Unary[context.CompactContextRequest, context.CompactContextResponse]:
    """ContextService.CompactContext."""
    return endpoint.contexts.CompactContext


def begin_step_method(endpoint: Endpoint) -> Unary[step.BeginStepRequest, step.BeginStepResponse]:
    """StepService.BeginStep."""
    return endpoint.steps.BeginStep


def end_step_method(endpoint: Endpoint) -> Unary[step.EndStepRequest, step.EndStepResponse]:
    """StepService.EndStep."""
    return endpoint.steps.EndStep


def get_step_method(endpoint: Endpoint) -> Unary[step.GetStepRequest, step.GetStepResponse]:
    """StepService.GetStep."""
    return endpoint.steps.GetStep


def list_steps_method(endpoint: Endpoint) -> Unary[step.ListStepsRequest, step.ListStepsResponse]:
    """StepService.ListSteps."""
    return endpoint.steps.ListSteps


def begin_turn_method(endpoint: Endpoint) -> Unary[step.BeginTurnRequest, step.TurnResponse]:
    """StepService.BeginTurn."""
    return endpoint.steps.BeginTurn


def end_turn_method(endpoint: Endpoint) -> Unary[step.EndTurnRequest, step.TurnResponse]:
    """StepService.EndTurn."""
    return endpoint.steps.EndTurn


def fork_method(endpoint: Endpoint) -> Unary[branch.ForkRequest, branch.ForkResponse]:
    """BranchService.Fork."""
    return endpoint.branches.Fork


def fork_team_method(endpoint: Endpoint) -> Unary[branch.ForkTeamRequest, branch.ForkTeamResponse]:
    """BranchService.ForkTeam."""
    return endpoint.branches.ForkTeam


def list_branches_method(endpoint: Endpoint) -> Unary[branch.ListBranchesRequest, branch.ListBranchesResponse]:
    """BranchService.ListBranches."""
    return endpoint.branches.ListBranches


def delete_branch_method(endpoint: Endpoint) -> Unary[branch.DeleteBranchRequest, branch.DeleteBranchResponse]:
    """BranchService.DeleteBranch."""
    return endpoint.branches.DeleteBranch


def transact_method(endpoint: Endpoint) -> Unary[team.TransactRequest, team.TransactResponse]:
    """TeamService.Transact."""
    return endpoint.teams.Transact


def take_team_checkpoint_method(
    endpoint: Endpoint,
) -> Unary[team.TakeTeamCheckpointRequest, team.TakeTeamCheckpointResponse]:
    """TeamService.TakeTeamCheckpoint."""
    return endpoint.teams.TakeTeamCheckpoint


def get_team_checkpoint_method(
    endpoint: Endpoint,
) -> Unary[team.GetTeamCheckpointRequest, team.GetTeamCheckpointResponse]:
    """TeamService.GetTeamCheckpoint."""
    return endpoint.teams.GetTeamCheckpoint


def list_team_checkpoints_method(
    endpoint: Endpoint,
) -> Unary[team.ListTeamCheckpointsRequest, team.ListTeamCheckpointsResponse]:
    """TeamService.ListTeamCheckpoints."""
    return endpoint.teams.ListTeamCheckpoints


def delete_team_checkpoint_method(
    endpoint: Endpoint,
) -> Unary[team.DeleteTeamCheckpointRequest, team.DeleteTeamCheckpointResponse]:
    """TeamService.DeleteTeamCheckpoint."""
    return endpoint.teams.DeleteTeamCheckpoint


def read_team_method(endpoint: Endpoint) -> Unary[team.ReadTeamRequest, team.ReadTeamResponse]:
    """TeamService.ReadTeam."""
    return endpoint.teams.ReadTeam


def register_schema_method(endpoint: Endpoint) -> Unary[schema.RegisterSchemaRequest, schema.RegisterSchemaResponse]:
    """SchemaService.RegisterSchema."""
    return endpoint.schemas.RegisterSchema


def check_schema_method(endpoint: Endpoint) -> Unary[schema.CheckSchemaRequest, schema.CheckSchemaResponse]:
    """SchemaService.CheckSchema."""
    return endpoint.schemas.CheckSchema


def get_schema_method(endpoint: Endpoint) -> Unary[schema.GetSchemaRequest, schema.GetSchemaResponse]:
    """SchemaService.GetSchema."""
    return endpoint.schemas.GetSchema


def list_schemas_method(endpoint: Endpoint) -> Unary[schema.ListSchemasRequest, schema.ListSchemasResponse]:
    """SchemaService.ListSchemas."""
    return endpoint.schemas.ListSchemas


def find_missing_method(endpoint: Endpoint) -> Unary[payload.FindMissingRequest, payload.FindMissingResponse]:
    """PayloadService.FindMissing."""
    return endpoint.payloads.FindMissing


def put_chunks_method(endpoint: Endpoint) -> Unary[payload.PutChunksRequest, payload.PutChunksResponse]:
    """PayloadService.PutChunks."""
    return endpoint.payloads.PutChunks


def put_payload_method(endpoint: Endpoint) -> Unary[payload.PutPayloadRequest, payload.PutPayloadResponse]:
    """PayloadService.PutPayload."""
    return endpoint.payloads.PutPayload


def describe_payload_method(
    endpoint: Endpoint,
) -> Unary[payload.DescribePayloadRequest, payload.DescribePayloadResponse]:
    """PayloadService.DescribePayload."""
    return endpoint.payloads.DescribePayload


def list_payloads_method(endpoint: Endpoint) -> Unary[payload.ListPayloadsRequest, payload.ListPayloadsResponse]:
    """PayloadService.ListPayloads."""
    return endpoint.payloads.ListPayloads


def set_retention_method(endpoint: Endpoint) -> Unary[retention.SetRetentionRequest, retention.SetRetentionResponse]:
    """RetentionService.SetRetention."""
    return endpoint.retention.SetRetention


def get_retention_method(endpoint: Endpoint) -> Unary[retention.GetRetentionRequest, retention.GetRetentionResponse]:
    """RetentionService.GetRetention."""
    return endpoint.retention.GetRetention


def plan_retention_method(endpoint: Endpoint) -> Unary[retention.PlanRetentionRequest, retention.PlanRetentionResponse]:
    """RetentionService.PlanRetention."""
    return endpoint.retention.PlanRetention


def run_retention_method(endpoint: Endpoint) -> Unary[retention.RunRetentionRequest, retention.RunRetentionResponse]:
    """RetentionService.RunRetention."""
    return endpoint.retention.RunRetention


def pin_checkpoint_method(endpoint: Endpoint) -> Unary[retention.PinCheckpointRequest, retention.PinCheckpointResponse]:
    """RetentionService.PinCheckpoint."""
    return endpoint.retention.PinCheckpoint


def compare_method(endpoint: Endpoint) -> Unary[causality.CompareRequest, causality.CompareResponse]:
    """CausalityService.Compare."""
    return endpoint.causality.Compare


def changed_method(endpoint: Endpoint) -> Unary[causality.ChangedRequest, causality.ChangedResponse]:
    """CausalityService.Changed."""
    return endpoint.causality.Changed
