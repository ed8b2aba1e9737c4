"""The client: a namespace of a cluster, over as many endpoints as are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from tallystick import _convert
from tallystick._agent import Agent
from tallystick._branches import fork_team
from tallystick._calls import AttemptError, Calls
from tallystick._channel import Endpoint, parse_address
from tallystick._contexts import Contexts
from tallystick._endpoints import Endpoints
from tallystick._events import Event, ForkedEvent
from tallystick._infos import AgentInfo, ContextInfo, LeaseInfo
from tallystick._json import JSONLike
from tallystick._members import Members
from tallystick._methods import list_agents_method, list_leases_method, status_method
from tallystick._outside import Machine, Outside
from tallystick._reading import PAGE
from tallystick._status import EndpointStatus, NodeStatus, node_status
from tallystick._tls import TLS
from tallystick._values import MAIN, Consistency, Revision
from tallystick._watch import watch
from tallystick.causality.asking import changed, compare, watch_changed
from tallystick.causality.values import Changes, Comparison, LogPoint, Observed
from tallystick.contexts.records import Verified
from tallystick.contexts.writers import Writers
from tallystick.errors import Invalid, TallystickError
from tallystick.payloads.payloads import Payloads
from tallystick.retention.retention import Retention
from tallystick.schemas.known import KnownSchemas, SchemaKnowledge
from tallystick.schemas.registry import Schemas
from tallystick.schemas.versions import Versions
from tallystick.teams.team import Team
from tallystick.teams.transaction import TeamTransaction
from tallystick.v1 import branch_pb2, cluster_pb2, context_pb2, lease_pb2, state_pb2

if TYPE_CHECKING:
    from tallystick.contexts.context import Context
    from tallystick.contexts.cursor import Cursor
    from tallystick.contexts.stored import StoredContext

DEFAULT_TIMEOUT_S: Final = 10.0
STATUS_TIMEOUT_S: Final = 2.0


def connect(
    endpoints: str | Sequence[str],
    *,
    namespace: str,
    tls: TLS | None = None,
    consistency: Consistency = Consistency.LINEARIZABLE,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    actor: str = "",
    data_folder: str | Path | None = None,
    pinned: bool = False,
    schemas: Iterable[SchemaKnowledge] = (),
    observe: bool = True,
) -> Client:
    """A client of one namespace; it connects with its first call.

    Args:
        endpoints: addresses `host:port`, in a list or separated by commas; one is enough to find the leader.
        namespace: the team of agents.
        tls: the certificates; None: plain text.
        consistency: what reads promise unless they say otherwise.
        timeout_s: the limit of a call, retries included, unless it says otherwise.
        actor: who writes, for the record of each mutation.
        data_folder: where contexts keep their local copies; None: in memory.
        pinned: ask these endpoints alone, not those that they tell of: to look at one node.
        schemas: what this program knows of them: upcasters, and versions that need none (`tallystick.schemas`).
        observe: mutations carry what this client has read of others: other agents' logs, contexts. Of a program that
            runs several agents all carry it: connect once for each that is to be told apart.

    Raises:
        Invalid: an endpoint is no address, or the timeout is not above 0, or upcasters have a gap.
    """
    texts = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
    addresses = [parse_address(text) for text in texts if text.strip()]
    return Client(
        addresses,
        namespace=namespace,
        tls=tls,
        consistency=consistency,
        timeout_s=timeout_s,
        actor=actor,
        data_folder=data_folder,
        pinned=pinned,
        schemas=schemas,
        observe=observe,
    )


class Client:
    """A namespace of a cluster. Made by `connect`; used as `async with`, or closed with `close`."""

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        namespace: str,
        tls: TLS | None,
        consistency: Consistency,
        timeout_s: float,
        actor: str,
        data_folder: str | Path | None = None,
        outside: Outside | None = None,
        pinned: bool = False,
        schemas: Iterable[SchemaKnowledge] = (),
        observe: bool = True,
    ) -> None:
        credentials = tls.credentials() if tls is not None else None
        machine = outside or Machine()
        pool = Endpoints(addresses, lambda address: Endpoint(address, credentials, machine), machine.rng, pinned=pinned)
        versions = Versions(KnownSchemas(schemas))
        self._calls = Calls(pool, timeout_s=timeout_s, outside=machine, versions=versions, observe=observe)
        self._members = Members(self._calls)
        self._payloads = Payloads(self._calls, namespace=namespace, actor=actor, consistency=consistency)
        self._contexts = Contexts(self._calls, namespace=namespace, actor=actor, consistency=consistency)
        self._namespace = namespace
        self._consistency = consistency
        self._actor = actor
        self._writers = Writers(self._calls, namespace=namespace, actor=actor)
        self._data_folder = Path(data_folder) if data_folder is not None else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def namespace(self) -> str:
        """The team of agents."""
        return self._namespace

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The known endpoints: the given ones, then those learned."""
        return tuple(endpoint.address for endpoint in self._calls.endpoints.all())

    @property
    def session(self) -> tuple[Revision, ...]:
        """What this client wrote and saw: the highest revision of each group."""
        return self._calls.session.revisions()

    def join_session(self, *revisions: Revision) -> None:
        """From now on session reads also see these, for example what another client wrote and told of."""
        for revision in revisions:
            self._calls.session.saw(revision)

    @property
    def outside(self) -> Outside:
        """What it takes from its machine: clock, randomness, keys, channels."""
        return self._calls.outside

    @property
    def members(self) -> Members:
        """Who is of the cluster, and changing it."""
        return self._members

    @property
    def schemas(self) -> Schemas:
        """What events and states must look like: to register, to look at, and to bring older states up."""
        return Schemas(self._calls, namespace=self._namespace, actor=self._actor, consistency=self._consistency)

    @property
    def retention(self) -> Retention:
        """How much of its agents' logs the namespace keeps."""
        return Retention(self._calls, namespace=self._namespace, actor=self._actor, consistency=self._consistency)

    @property
    def payloads(self) -> Payloads:
        """Values of any size: bytes that are stored once, and named in what agents store."""
        return self._payloads

    def agent(self, name: str, *, branch: str = MAIN) -> Agent:
        """The agent of this name, whether it exists yet or not, on a branch; nothing is sent."""
        return Agent(
            self._calls,
            namespace=self._namespace,
            name=name,
            actor=self._actor,
            consistency=self._consistency,
            branch=branch,
        )

    async def fork_team(
        self,
        prefix: str,
        branch: str,
        revision: Revision | None = None,
        *,
        source_branch: str = MAIN,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> tuple[ForkedEvent, ...]:
        """Begins a branch of each agent whose name begins so, each as it was at one revision: all of them, or none.

        Example:
            for forked in await client.fork_team("crew/", "what-if", snapshot.revision):
                agent = client.agent(forked.agent, branch=forked.branch)

        Args:
            prefix: of agents' names; "" for all of the namespace.
            branch: the name of the new branches.
            revision: agents that began later are left out; None: now.
            source_branch: where the new ones begin; agents without it are left out.

        Returns:
            What was begun, by name of agent.

        Raises:
            AlreadyExists: one of the agents has a branch of that name.
            NotFound: there was no such agent.
            QuotaExceeded: more than 1,000 agents, or one of them has too many branches.
        """
        request = branch_pb2.ForkTeamRequest(
            namespace=self._namespace,
            prefix=prefix,
            source_branch=source_branch,
            branch=branch,
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            actor=self._actor,
        )
        return await fork_team(self._calls, request, revision, timeout_s)

    def transaction(self, *, idempotency_key: str | None = None, timeout_s: float | None = None) -> TeamTransaction:
        """Appends to several agents, to all or to none, decided as one: `async with client.transaction() as team: ...`.

        What is to be appended is gathered in the block and sent at its end; if the block raises, nothing is.

        Example:
            async with client.transaction() as team:
                team.agent("alice", expected_seq=seen.seq).append(ops.increment("/balance", -5))
                team.agent("bob").append(ops.increment("/balance", 5))

        Args:
            idempotency_key: at most 64 bytes; made by the client if None. The log of the first agent remembers it.

        Raises, when the block ends:
            Refused: nothing happened to any of them; the metadata name the `agent` and `branch` that refused.
                Conflict: a log does not end at its `expected_seq`.
                StaleOwner: a lease is held, and its epoch was not given.
                Invalid: an operation does not fit a state, or a limit is exceeded.
                QuotaExceeded: the states of these agents are too large together.
        """
        return TeamTransaction(
            self._calls,
            namespace=self._namespace,
            actor=self._actor,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
        )

    def team(self, prefix: str = "", *, branch: str = MAIN) -> Team:
        """The agents whose names begin so, taken together: to checkpoint, rehydrate and roll back; nothing is sent.

        Args:
            prefix: "" for all of the namespace.
            branch: which of their branches; agents without it are left out.
        """
        return Team(
            self._calls,
            namespace=self._namespace,
            prefix=prefix,
            branch=branch,
            actor=self._actor,
            consistency=self._consistency,
        )

    def agents(
        self, *, prefix: str = "", consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[AgentInfo, None]:
        """The agents whose names begin so, by name. `timeout_s` limits the fetch of each page."""
        return self._agents(prefix, consistency or self._consistency, timeout_s)

    def leases(
        self, *, prefix: str = "", consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[LeaseInfo, None]:
        """The leases of agents whose names begin so, by name, those that ended too. `timeout_s` limits each page."""
        return self._leases(prefix, consistency or self._consistency, timeout_s)

    def context(
        self,
        name: str,
        *,
        create: bool = True,
        schema: Mapping[str, JSONLike] | None = None,
        seed: Mapping[str, JSONLike] | bytes | None = None,
        store: str | Path | None = None,
        after: Cursor | None = None,
        timeout_s: float | None = None,
    ) -> Context:
        """The shared document of this name, as a local replica: `async with client.context("plan") as plan: ...`.

        Opening waits for a node; if the store holds the document already, only for 2 s, then it works offline.

        Args:
            create: make it if there is none.
            schema: of a new one; see `create_context`.
            seed: what a new one begins with, once: roots by name (an object becomes a map, an array a list, a string a
                text), or a Yjs update of client id 1.
            store: the file of the local copy, which outlives the process; None: one in `data_folder`, if the client has
                it, else memory.
            after: what the replica must hold before opening returns, for example what another agent wrote and told of.
            timeout_s: of opening, and of calls that say nothing else; None: the client's.

        Raises, when it is opened:
            Unavailable: no node answers in time.
            NotFound: there is none, and `create` is False; it was deleted while the local copy was away.
            Conflict: another process has the store open.
        """
        from tallystick.contexts.opening import Opener  # with it comes pycrdt, for those who use contexts

        opener = Opener(self._calls, self._contexts, self._writers, self._namespace, self._actor, self._data_folder)
        return opener.context(
            name, create=create, schema=schema, seed=seed, store=store, after=after, timeout_s=timeout_s
        )

    def contexts(
        self, *, prefix: str = "", consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[ContextInfo, None]:
        """The shared contexts whose names begin so, by name. `timeout_s` limits the fetch of each page."""
        return self._contexts.list(prefix, consistency, timeout_s)

    async def describe_context(
        self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> ContextInfo:
        """A context as it was decided: which document has this name.

        Raises:
            NotFound: there is none.
        """
        return await self._contexts.describe(name, consistency=consistency, timeout_s=timeout_s)

    async def create_context(
        self,
        name: str,
        *,
        schema: Mapping[str, JSONLike] | None = None,
        seed: bytes = b"",
        guid: bytes | None = None,
        exist_ok: bool = False,
        timeout_s: float | None = None,
    ) -> ContextInfo:
        """Gives a name to a new document.

        Args:
            schema: the roots, their types and a JSON Schema of each:
                `{"roots": {"tasks": {"type": "map", "schema": {...}}}, "strict": True}`.
            seed: what it begins with, once, whoever opens it: a Yjs update (v1) of client id 1 alone.
            guid: 16 random bytes; made by the client if None. With the same one again it is the same request.
            exist_ok: if the name is taken, answer with the context that has it.

        Raises:
            AlreadyExists: another document has the name.
            NotFound: the document of this guid was deleted.
            Invalid: the name, the schema or the seed breaks a rule or a limit.
        """
        return await self._contexts.create(
            name, schema=schema, seed=seed, guid=guid, exist_ok=exist_ok, timeout_s=timeout_s
        )

    async def delete_context(self, name: str, *, guid: bytes | None = None, timeout_s: float | None = None) -> Revision:
        """Removes a document for ever; the name is free again. What it decides is its guid, looked up if None.

        Raises:
            NotFound: there is no such context, or another document has the name by now.
        """
        return await self._contexts.delete(name, guid=guid, timeout_s=timeout_s)

    def stored_context(self, name: str) -> StoredContext:
        """The context of this name as the nodes hold it, without a replica here: to look at it, and to keep it well."""
        from tallystick.contexts.stored import StoredContext

        ref = context_pb2.ContextRef(namespace=self._namespace, name=name)
        return StoredContext(self._calls, self._contexts, self._writers, ref, actor=self._actor)

    async def verify_contexts(
        self, name: str = "", *, everywhere: bool = False, deep: bool = False, timeout_s: float | None = None
    ) -> Verified:
        """Whether the voters hold equal documents now; while agents edit, they differ for moments.

        Args:
            name: only this one.
            everywhere: those of all namespaces.
            deep: by their content, not by the kept digests alone.
        """
        return await self._contexts.verify(name, everywhere=everywhere, deep=deep, timeout_s=timeout_s)

    def watch(
        self,
        *,
        agent: str | None = None,
        prefix: str | None = None,
        after: Revision | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """What is decided, each event once and in order, from any node; it resumes elsewhere when a node fails.

        Of an agent it is all branches; an event names its own.

        Args:
            agent: only this agent; or
            prefix: only agents whose names begin so. Neither: every agent of the namespace, and what is decided of its
                contexts.
            after: events after this revision; None: from the first step of the iteration on.
            timeout_s: how long to go on without reaching any node; None: for ever.

        Raises:
            Compacted: the events after the revision are no longer kept: rehydrate, then watch from there.
        """
        if agent is not None and prefix is not None:
            raise Invalid("either an agent or a prefix", metadata={"field": "filter"})
        request = state_pb2.WatchRequest(namespace=self._namespace)
        if agent is not None:
            request.agent = agent
        elif prefix:
            request.agent_prefix = prefix
        return watch(self._calls, request, after, timeout_s)

    @property
    def observed(self) -> Observed:
        """What this client has read of agents and contexts: by reads, watches, and open contexts."""
        return self._calls.observing.all()

    def observe(self, observed: Observed) -> None:
        """Counts as read what another program told that it had read (`Observed.to_json`), or what is known otherwise.

        Example:
            client.observe(Observed.from_json(message["observed"]))
        """
        self._calls.observing.add(observed)

    async def compare(
        self,
        a: LogPoint | str,
        b: LogPoint | str,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Whether mutation `a` happened before mutation `b`, after it, or neither knew of the other; and by what.

        A mutation comes after all before it in its log, and after what its writer had read, as far as the clients told.

        Example:
            if (await client.compare("planner@12", "worker@7")).relation is CausalRelation.CONCURRENT: ...

        Args:
            a: a point, or its text: `LogPoint.parse` says how.

        Raises:
            NotFound: there is no such agent, or no such mutation.
            Compacted: retention has removed it.
        """
        points = [LogPoint.parse(each) if isinstance(each, str) else each for each in (a, b)]
        return await compare(
            self._calls, self._namespace, points[0], points[1], consistency or self._consistency, timeout_s
        )

    async def changed(
        self,
        observed: Observed | None = None,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Changes:
        """What is no longer as it was read.

        Example:
            if await client.changed(checkpoint.observed): ...  # think again

        Args:
            observed: None: all that this client has read.
        """
        what = observed if observed is not None else self.observed
        return await changed(self._calls, self._namespace, what, consistency or self._consistency, timeout_s)

    def watch_changed(
        self, observed: Observed | None = None, *, timeout_s: float | None = None
    ) -> AsyncGenerator[Changes, None]:
        """The same at once, and again whenever something of it changes further: a watch of only what was read.

        Args:
            observed: at most 64 logs and 16 contexts; None: all that this client has read until now.
            timeout_s: how long to go on without reaching any node; None: for ever.
        """
        what = observed if observed is not None else self.observed
        return watch_changed(self._calls, self._namespace, what, timeout_s)

    async def status(self, endpoint: str | None = None, *, timeout_s: float | None = None) -> NodeStatus:
        """How a node does: this one, or any that answers.

        Raises:
            Unavailable: it does not answer.
        """
        request = cluster_pb2.StatusRequest()
        if endpoint is None:
            answer = await self._calls.read(status_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s)
            return node_status(answer)
        known = self._calls.endpoints.get(parse_address(endpoint))
        if known is None:
            raise Invalid("too many endpoints", metadata={"field": "endpoint"})
        try:
            return node_status(
                await self._calls.once(
                    known, status_method, request, timeout_s=timeout_s or STATUS_TIMEOUT_S, writes=False
                )
            )
        except AttemptError as attempt:
            raise attempt.failure.error from attempt

    async def statuses(self, *, timeout_s: float = STATUS_TIMEOUT_S) -> tuple[EndpointStatus, ...]:
        """The status of every known endpoint and of every member they name; who does not answer, as such."""
        answers = list(await asyncio.gather(*(self._ask(address, timeout_s) for address in self.endpoints)))
        nodes = {answer.status.node_id for answer in answers if answer.status is not None}
        asked = {answer.endpoint for answer in answers}
        others = {
            member.client_endpoint
            for answer in answers
            if answer.status is not None
            for member in answer.status.members
            if member.node_id not in nodes and member.client_endpoint and member.client_endpoint not in asked
        }
        answers += await asyncio.gather(*(self._ask(address, timeout_s) for address in sorted(others)))
        return tuple(answers)

    async def close(self) -> None:
        """Closes every connection; calls under way fail, reads as `Unavailable`, writes as `Undecided`."""
        self._calls.closed = True
        await self._calls.endpoints.close()

    async def _ask(self, address: str, timeout_s: float) -> EndpointStatus:
        try:
            return EndpointStatus(address, status=await self.status(address, timeout_s=timeout_s))
        except TallystickError as error:
            return EndpointStatus(address, error=error)

    async def _leases(
        self, prefix: str, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[LeaseInfo, None]:
        request = lease_pb2.ListLeasesRequest(namespace=self._namespace, prefix=prefix, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_leases_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.leases:
                yield _convert.lease_info(message)
            if not (page.more and page.leases):
                return
            request.after.CopyFrom(page.leases[-1].agent)

    async def _agents(
        self, prefix: str, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[AgentInfo, None]:
        request = state_pb2.ListAgentsRequest(namespace=self._namespace, prefix=prefix, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_agents_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.agents:
                yield _convert.agent_info(message)
            if not (page.more and page.agents):
                return
            request.after = page.agents[-1].agent.agent
