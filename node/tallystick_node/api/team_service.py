"""`tallystick.v1.TeamService`: each method turns a message into one call of the team store and back."""

from __future__ import annotations

from tallystick.v1 import common_pb2, context_pb2, team_pb2, team_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.commands import MAIN, DeleteTeamCheckpoint, SeenContext, TakeTeamCheckpoint, Target
from tallystick_node.core.outcomes import Appended, TeamCheckpointRecord, TeamMember
from tallystick_node.team_store import AskedPart, MemberState, TeamStore


class TeamService(team_pb2_grpc.TeamServiceServicer):
    """See the module."""

    def __init__(self, teams: TeamStore, headers: Headers) -> None:
        self._teams = teams
        self._headers = headers

    @calls.unary
    async def Transact(  # noqa: N802
        self, request: team_pb2.TransactRequest, context: Context
    ) -> team_pb2.TransactResponse:
        done = await self._teams.transact(
            request.namespace,
            [_part(request.namespace, part) for part in request.parts],
            key=request.idempotency_key,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return team_pb2.TransactResponse(
            header=self._headers.make(),
            parts=[_transacted(part) for part in done.parts],
            revision=messages.revision(done.position),
            replayed=done.replayed,
        )

    @calls.unary
    async def TakeTeamCheckpoint(  # noqa: N802
        self, request: team_pb2.TakeTeamCheckpointRequest, context: Context
    ) -> team_pb2.TakeTeamCheckpointResponse:
        command = TakeTeamCheckpoint(
            0,
            request.namespace,
            request.name,
            b"",
            tuple([_target(request.namespace, ref) for ref in request.agents]),
            request.prefix,
            request.branch or MAIN,
            tuple([SeenContext(each.name, _encoded(each.cursor)) for each in request.contexts]),
            request.metadata,
            calls.actor(context, request.actor),
        )
        done = await self._teams.checkpoint(command, request.idempotency_key, calls.timeout_s(context))
        return team_pb2.TakeTeamCheckpointResponse(
            header=self._headers.make(), checkpoint=_info(done.record, is_whole=True), replayed=done.replayed
        )

    @calls.unary
    async def GetTeamCheckpoint(  # noqa: N802
        self, request: team_pb2.GetTeamCheckpointRequest, context: Context
    ) -> team_pb2.GetTeamCheckpointResponse:
        record = await self._teams.get(request.namespace, request.name, read_from(request.options, context))
        return team_pb2.GetTeamCheckpointResponse(header=self._headers.make(), checkpoint=_info(record, is_whole=True))

    @calls.unary
    async def ListTeamCheckpoints(  # noqa: N802
        self, request: team_pb2.ListTeamCheckpointsRequest, context: Context
    ) -> team_pb2.ListTeamCheckpointsResponse:
        how = read_from(request.options, context)
        page = await self._teams.checkpoints(request.namespace, request.after_revision, request.limit, how)
        listed = [_info(record, is_whole=False) for record in page.items]
        return team_pb2.ListTeamCheckpointsResponse(header=self._headers.make(), checkpoints=listed, more=page.more)

    @calls.unary
    async def DeleteTeamCheckpoint(  # noqa: N802
        self, request: team_pb2.DeleteTeamCheckpointRequest, context: Context
    ) -> team_pb2.DeleteTeamCheckpointResponse:
        actor = calls.actor(context, request.actor)
        command = DeleteTeamCheckpoint(0, request.namespace, request.name, request.taken.position, actor)
        done = await self._teams.delete(command, calls.timeout_s(context))
        return team_pb2.DeleteTeamCheckpointResponse(
            header=self._headers.make(), revision=messages.revision(done.position), replayed=done.replayed
        )

    @calls.unary
    async def ReadTeam(  # noqa: N802
        self, request: team_pb2.ReadTeamRequest, context: Context
    ) -> team_pb2.ReadTeamResponse:
        page = await self._teams.states(
            request.namespace,
            request.name,
            request.after,
            request.limit,
            read_from(request.options, context),
            changed_only=request.changed_only,
        )
        return team_pb2.ReadTeamResponse(
            header=self._headers.make(),
            states=[_state(request.namespace, state) for state in page.states],
            looked_at=page.looked_at,
            more=page.more,
        )


def _target(namespace: str, ref: common_pb2.AgentRef) -> Target:
    return Target(ref.namespace or namespace, ref.agent, ref.branch or MAIN)


def _part(namespace: str, part: team_pb2.TransactionPart) -> AskedPart:
    expected_seq = part.expected_seq if part.HasField("expected_seq") else None
    return AskedPart(_target(namespace, part.agent), part.mutations, expected_seq, part.epoch)


def _transacted(part: Appended) -> team_pb2.TransactedPart:
    return team_pb2.TransactedPart(
        first_seq=part.first_seq,
        last_seq=part.last_seq,
        hash=part.hash,
        time_unix_ms=part.time_unix_ms,
        revision=messages.revision(part.position),
    )


def _encoded(cursor: context_pb2.Cursor) -> bytes:
    return cursor.SerializeToString(deterministic=True)


def _info(record: TeamCheckpointRecord, *, is_whole: bool) -> team_pb2.TeamCheckpointInfo:
    """A cut; `is_whole`: with what it binds."""
    info = team_pb2.TeamCheckpointInfo(
        namespace=record.namespace,
        name=record.name,
        prefix=record.prefix,
        branch=record.branch,
        agents=len(record.members),
        metadata=record.metadata,
        hash=record.hash,
        actor=record.actor,
        time_unix_ms=record.time_unix_ms,
        revision=messages.revision(record.position),
    )
    if is_whole:
        info.members.extend(_member(record.namespace, member) for member in record.members)
        info.contexts.extend(
            team_pb2.TeamContext(name=name, cursor=context_pb2.Cursor.FromString(cursor))
            for name, cursor in record.contexts
        )
    return info


def _member(namespace: str, member: TeamMember) -> team_pb2.TeamMember:
    return team_pb2.TeamMember(
        agent=messages.agent_ref(Target(namespace, member.agent, member.branch)),
        seq=member.seq,
        hash=member.hash,
        state_digest=member.state_digest,
    )


def _state(namespace: str, state: MemberState) -> team_pb2.TeamState:
    return team_pb2.TeamState(
        member=_member(namespace, state.member),
        state=state.state or b"",
        head_seq=state.head_seq,
        is_gone=state.state is None,
    )
