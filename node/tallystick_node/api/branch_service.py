"""`tallystick.v1.BranchService`: each method turns a message into one call of the branch store and back."""

from __future__ import annotations

from tallystick.errors import Invalid
from tallystick.v1 import branch_pb2, branch_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.branch_store import BranchStore
from tallystick_node.core.commands import MAIN, Target
from tallystick_node.storage.reads import At, AtCheckpoint, AtLastTurn, AtSeq, AtTime, Branch, Head
from tallystick_node.store import Write

WriteRequest = branch_pb2.ForkRequest | branch_pb2.ForkTeamRequest | branch_pb2.DeleteBranchRequest


class BranchService(branch_pb2_grpc.BranchServiceServicer):
    """See the module."""

    def __init__(self, branches: BranchStore, headers: Headers) -> None:
        self._branches = branches
        self._headers = headers

    @calls.unary
    async def Fork(self, request: branch_pb2.ForkRequest, context: Context) -> branch_pb2.ForkResponse:  # noqa: N802
        write = _write(request, messages.target(request.agent), None, context)
        done = await self._branches.fork(write, request.branch, _at(request))
        (forked,) = done.branches
        return branch_pb2.ForkResponse(
            header=self._headers.make(),
            agent=messages.agent_ref(forked.target),
            forked=messages.forked(forked),
            replayed=done.replayed,
        )

    @calls.unary
    async def ForkTeam(  # noqa: N802
        self, request: branch_pb2.ForkTeamRequest, context: Context
    ) -> branch_pb2.ForkTeamResponse:
        team = Target(request.namespace, request.prefix, request.source_branch or MAIN)
        if not request.HasField("revision"):
            raise Invalid("a team is forked at a revision", metadata={"field": "revision"})
        position = messages.position_in([request.revision])
        done = await self._branches.fork_team(_write(request, team, None, context), request.branch, position)
        return branch_pb2.ForkTeamResponse(
            header=self._headers.make(),
            branches=[
                branch_pb2.TeamBranch(agent=messages.agent_ref(forked.target), forked=messages.forked(forked))
                for forked in done.branches
            ],
            replayed=done.replayed,
        )

    @calls.unary
    async def ListBranches(  # noqa: N802
        self, request: branch_pb2.ListBranchesRequest, context: Context
    ) -> branch_pb2.ListBranchesResponse:
        target = messages.target(request.agent)
        page = await self._branches.branches(target, request.after, request.limit, read_from(request.options, context))
        listed = [_info(branch) for branch in page.items]
        return branch_pb2.ListBranchesResponse(header=self._headers.make(), branches=listed, more=page.more)

    @calls.unary
    async def DeleteBranch(  # noqa: N802
        self, request: branch_pb2.DeleteBranchRequest, context: Context
    ) -> branch_pb2.DeleteBranchResponse:
        expected_seq = request.expected_seq if request.HasField("expected_seq") else None
        write = _write(request, messages.target(request.agent), expected_seq, context)
        deleted = await self._branches.delete(write, request.epoch)
        return branch_pb2.DeleteBranchResponse(
            header=self._headers.make(), revision=messages.revision(deleted.position), replayed=deleted.replayed
        )


def _write(request: WriteRequest, target: Target, expected_seq: int | None, context: Context) -> Write:
    return Write(
        target=target,
        key=request.idempotency_key,
        expected_seq=expected_seq,
        actor=calls.actor(context, request.actor),
        timeout_s=calls.timeout_s(context),
    )


def _at(request: branch_pb2.ForkRequest) -> At:
    match request.WhichOneof("at"):
        case "seq":
            return AtSeq(request.seq)
        case "checkpoint":
            return AtCheckpoint(request.checkpoint)
        case "time_unix_ms":
            return AtTime(request.time_unix_ms)
        case "last_turn":
            return AtLastTurn()
        case _:
            return Head()


def _info(branch: Branch) -> branch_pb2.BranchInfo:
    log = branch.log
    return branch_pb2.BranchInfo(
        agent=messages.agent_ref(log.target),
        parent=branch.parent,
        fork_seq=log.fork_seq,
        seq=log.seq,
        hash=log.hash,
        time_unix_ms=log.time_unix_ms,
        checkpoint=log.checkpoint,
        revision=messages.revision(log.position),
        log_bytes=log.log_bytes - branch.gone_bytes,
    )
