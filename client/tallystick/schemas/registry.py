"""The schemas of a namespace, as the client registers and reads them: `client.schemas`.

Rules of this file: a registration needs no key: the newest document again is answered as the first time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final, Literal, TypeAlias

from tallystick._calls import Calls
from tallystick._json import JSON, JSONLike, encode
from tallystick._methods import (
    check_schema_method,
    get_schema_method,
    list_schemas_method,
    register_schema_method,
)
from tallystick._values import Consistency, DecidedMutation, Revision
from tallystick.errors import Invalid
from tallystick.schemas.migrating import CONCURRENCY, MAX_CONCURRENCY, Migration
from tallystick.schemas.models import Model, document_of
from tallystick.schemas.report import MigrationReport, OnProgress
from tallystick.schemas.subjects import Subject
from tallystick.schemas.upcasters import Chain
from tallystick.schemas.values import (
    Compatibility,
    Schema,
    SchemaCheck,
    check_of,
    compatibility_number,
    schema_of,
    subject_message,
)
from tallystick.v1 import schema_pb2

PAGE: Final = 200

AnySchema: TypeAlias = Mapping[str, JSONLike] | type[Model]
"""A JSON Schema (2020-12), or a Pydantic model."""

AnyCompatibility: TypeAlias = Compatibility | Literal["backward", "none"]


class Schemas:
    """The schemas of a namespace. Made by `Client.schemas`; holds no connection.

    Every method may raise `Unavailable` (nothing happened). A subject is a text, `state of PREFIX`, `state` or `event
    KIND`, or a `Subject`.
    """

    def __init__(self, calls: Calls, *, namespace: str, actor: str, consistency: Consistency) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._consistency = consistency

    async def register(
        self,
        subject: str | Subject,
        schema: AnySchema,
        *,
        version: int = 0,
        compatibility: AnyCompatibility = Compatibility.BACKWARD,
        timeout_s: float | None = None,
    ) -> Schema:
        """Registers the next version of what events of a kind, or states of agents, must look like.

        A version that is registered already is answered as the first time: a program may register what it knows
        whenever it starts. Let it name the version then, or a program of yesterday registers its document anew.

        Example:
            await client.schemas.register("state of planner-", Plan, version=2)

        Args:
            schema: a JSON Schema (2020-12) of 64 KiB at most, or a Pydantic model.
            version: that it is to get; 0: the one that comes next, or the newest if it is that.
            compatibility: with the version before: `"backward"` (all that was valid is valid, or it is refused), or
                `"none"` (a migration comes).

        Raises:
            Invalid: `SCHEMA_INCOMPATIBLE`, the metadata name the path and the rule; it is no JSON Schema.
            Conflict: `SCHEMA_CONFLICT`, another version comes next.
            QuotaExceeded: the namespace has too many.
        """
        request = schema_pb2.RegisterSchemaRequest(
            namespace=self._namespace,
            subject=subject_message(Subject.parse(subject)),
            version=_version(version),
            document=encode(document_of(schema)),
            compatibility=_number(compatibility),
            actor=self._actor,
        )
        answer = await self._calls.write(register_schema_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.schema.revision)
        return schema_of(answer.schema, replayed=answer.replayed)

    async def check(
        self,
        subject: str | Subject,
        schema: AnySchema,
        *,
        compatibility: AnyCompatibility = Compatibility.BACKWARD,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> SchemaCheck:
        """What `register` would say. Nothing is changed.

        Raises:
            Invalid: it is no JSON Schema.
        """
        request = schema_pb2.CheckSchemaRequest(
            document=encode(document_of(schema)), compatibility=_number(compatibility)
        )
        return await self._check(subject, request, consistency, timeout_s)

    async def check_value(
        self,
        subject: str | Subject,
        value: JSONLike,
        *,
        version: int = 0,
        schema: AnySchema | None = None,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> SchemaCheck:
        """What a write of this value would be told. Nothing is changed.

        Args:
            version: to check against; 0: the newest.
            schema: to check against instead, registered or not.

        Raises:
            NotFound: there is no such version.
            Invalid: the schema is no JSON Schema.
        """
        request = schema_pb2.CheckSchemaRequest(version=_version(version), value=encode(value))
        if schema is not None:
            request.document = encode(document_of(schema))
            request.compatibility = schema_pb2.SCHEMA_COMPATIBILITY_NONE
        return await self._check(subject, request, consistency, timeout_s)

    async def get(
        self,
        subject: str | Subject,
        version: int = 0,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Schema:
        """A version of a schema, with its document; 0: the newest.

        Raises:
            NotFound: there is none.
        """
        consistency = consistency or self._consistency
        request = schema_pb2.GetSchemaRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(consistency),
            subject=subject_message(Subject.parse(subject)),
            version=_version(version),
        )
        answer = await self._calls.read(get_schema_method, request, consistency=consistency, timeout_s=timeout_s)
        return schema_of(answer.schema)

    def list(
        self,
        subject: str | Subject | None = None,
        *,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Schema, None]:
        """All versions of all schemas, or of one subject, without documents: of events by kind, of states by prefix.

        `timeout_s` limits the fetch of each page.
        """
        of = None if subject is None else Subject.parse(subject)
        return self._list(of, consistency or self._consistency, timeout_s)

    async def migrate(
        self,
        prefix: str,
        to_version: int | None = None,
        *,
        branches: bool = False,
        progress: OnProgress | None = None,
        concurrency: int = CONCURRENCY,
        timeout_s: float | None = None,
    ) -> MigrationReport:
        """Brings the states of agents whose names begin so to a version, by the upcasters that this client was given.

        Each agent gets one mutation. Those that have the version, or a newer one, are skipped: so one that was cut, by
        whatever, goes on when it is called again, and nothing is done twice. What cannot be brought up (its upcaster
        raised, what came of it is not valid, another holds its lease) is in the report, and the others go on. Agents
        that a longer prefix governs are left alone.

        Example:
            report = await client.schemas.migrate("planner-", 2, progress=print)

        Args:
            to_version: None: the one that this client works with.
            branches: all branches, not `main` alone. The others are brought up when this client writes them.
            progress: called behind each agent; may be a coroutine function.
            concurrency: agents under way at once, 1 to 64.
            timeout_s: of each call to the nodes.

        Raises:
            Invalid: this client has no upcasters of states with this prefix, or not to this version.
            NotFound: the version is not registered.
            Unavailable, Undecided: no majority answers; call it again.
        """
        subject = Subject.state(prefix)
        chain = self._calls.versions.known.of_states(prefix)
        if chain is None or not 1 <= (chain.version if to_version is None else to_version) <= chain.version:
            wanted = f" to version {to_version}" if to_version is not None else ""
            text = f"this client knows no upcaster of {str(subject)!r}{wanted}"
            raise Invalid(text, metadata={"subject": str(subject)})
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise Invalid(f"between 1 and {MAX_CONCURRENCY} at once", metadata={"field": "concurrency"})
        target = await self.get(subject, to_version or chain.version, timeout_s=timeout_s)
        longer = {
            schema.subject.name
            async for schema in self.list(timeout_s=timeout_s)
            if schema.subject.kind is subject.kind and len(schema.subject.name) > len(prefix)
        }
        migration = Migration(
            self._calls,
            namespace=self._namespace,
            actor=self._actor,
            chain=chain,
            to_version=target.version,
            left_alone=tuple(longer),
            with_branches=branches,
            progress=progress,
            timeout_s=timeout_s,
        )
        return await migration.run(concurrency)

    async def payload(self, mutation: DecidedMutation, *, timeout_s: float | None = None) -> JSON:
        """The payload of a custom event, brought by upcasters to the version that this client works with.

        That of a newer version, or of a kind that the client knows nothing of, comes as it is. An event that names no
        version was checked against the newest of its time; when that was, is asked of a node, and remembered.

        Raises:
            Invalid: an upcaster is missing.
        """
        chain = self._calls.versions.known.of_event(mutation.kind)
        if chain is None:
            return mutation.payload
        version = mutation.mutation.schema_version or await self._newest_at(chain, mutation.revision, timeout_s)
        return mutation.payload if version >= chain.version else chain.bring(mutation.payload, version)

    async def _newest_at(self, chain: Chain, revision: Revision, timeout_s: float | None) -> int:
        """The newest version that was registered before a revision; 0: none was."""
        versions = self._calls.versions
        if versions.newest_at(chain, revision.position) is None:
            listed = self.list(chain.subject, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
            positions = [schema.revision.position async for schema in listed]
            versions.saw_registrations(chain, revision.position, positions)
        return versions.newest_at(chain, revision.position) or 0

    async def _check(
        self,
        subject: str | Subject,
        request: schema_pb2.CheckSchemaRequest,
        consistency: Consistency | None,
        timeout_s: float | None,
    ) -> SchemaCheck:
        consistency = consistency or self._consistency
        request.namespace = self._namespace
        request.subject.CopyFrom(subject_message(Subject.parse(subject)))
        request.options.CopyFrom(self._calls.session.read_options(consistency))
        answer = await self._calls.read(check_schema_method, request, consistency=consistency, timeout_s=timeout_s)
        return check_of(answer)

    async def _list(
        self, subject: Subject | None, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[Schema, None]:
        request = schema_pb2.ListSchemasRequest(namespace=self._namespace, limit=PAGE)
        if subject is not None:
            request.subject.CopyFrom(subject_message(subject))
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_schemas_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.schemas:
                yield schema_of(message)
            if not (page.more and page.schemas):
                return
            request.after.CopyFrom(page.schemas[-1])


def _version(version: int) -> int:
    if not 0 <= version < 1 << 32:
        raise Invalid("versions are counted from 1", metadata={"field": "version"})
    return version


def _number(compatibility: AnyCompatibility) -> schema_pb2.SchemaCompatibility.ValueType:
    try:
        return compatibility_number(Compatibility(compatibility))
    except ValueError:
        raise Invalid("a compatibility is `backward` or `none`", metadata={"field": "compatibility"}) from None
