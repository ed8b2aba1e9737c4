"""`tallystick.v1.SchemaService`: each method turns a message into one call of the schema store and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.errors import Invalid
from tallystick.v1 import schema_pb2, schema_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.schema_records import Compatibility, SchemaOf, SchemaRecord, Subject
from tallystick_node.schemas.store import SchemaStore
from tallystick_node.schemas.validators import Problem
from tallystick_node.storage.registry_reads import SchemaAfter

_COMPATIBILITIES: Final = {
    schema_pb2.SCHEMA_COMPATIBILITY_UNSPECIFIED: Compatibility.BACKWARD,
    schema_pb2.SCHEMA_COMPATIBILITY_BACKWARD: Compatibility.BACKWARD,
    schema_pb2.SCHEMA_COMPATIBILITY_NONE: Compatibility.NONE,
}


class SchemaService(schema_pb2_grpc.SchemaServiceServicer):
    """See the module."""

    def __init__(self, schemas: SchemaStore, headers: Headers) -> None:
        self._schemas = schemas
        self._headers = headers

    @calls.unary
    async def RegisterSchema(  # noqa: N802
        self, request: schema_pb2.RegisterSchemaRequest, context: Context
    ) -> schema_pb2.RegisterSchemaResponse:
        done = await self._schemas.register(
            request.namespace,
            _subject(request.subject),
            request.document,
            version=request.version,
            compatibility=_compatibility(request.compatibility),
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        info = _info(done.record, document=True)
        return schema_pb2.RegisterSchemaResponse(header=self._headers.make(), schema=info, replayed=done.replayed)

    @calls.unary
    async def CheckSchema(  # noqa: N802
        self, request: schema_pb2.CheckSchemaRequest, context: Context
    ) -> schema_pb2.CheckSchemaResponse:
        found = await self._schemas.check(
            request.namespace,
            _subject(request.subject),
            request.document,
            version=request.version,
            compatibility=_compatibility(request.compatibility),
            value=request.value or None,
            read_from=read_from(request.options, context),
        )
        return schema_pb2.CheckSchemaResponse(
            header=self._headers.make(),
            version=found.version,
            is_registered=found.is_registered,
            incompatible=_problems(found.incompatible),
            invalid=_problems(found.invalid),
        )

    @calls.unary
    async def GetSchema(  # noqa: N802
        self, request: schema_pb2.GetSchemaRequest, context: Context
    ) -> schema_pb2.GetSchemaResponse:
        how = read_from(request.options, context)
        record = await self._schemas.get(request.namespace, _subject(request.subject), request.version, how)
        return schema_pb2.GetSchemaResponse(header=self._headers.make(), schema=_info(record, document=True))

    @calls.unary
    async def ListSchemas(  # noqa: N802
        self, request: schema_pb2.ListSchemasRequest, context: Context
    ) -> schema_pb2.ListSchemasResponse:
        subject = _subject(request.subject) if request.HasField("subject") else None
        after = (
            SchemaAfter(_subject(request.after.subject), request.after.version) if request.HasField("after") else None
        )
        how = read_from(request.options, context)
        page = await self._schemas.schemas(request.namespace, subject, after, request.limit, how)
        listed = [_info(record, document=False) for record in page.items]
        return schema_pb2.ListSchemasResponse(header=self._headers.make(), schemas=listed, more=page.more)


def _subject(message: schema_pb2.SchemaSubject) -> Subject:
    match message.WhichOneof("of"):
        case "event_kind":
            return Subject(SchemaOf.EVENT, message.event_kind)
        case "state_prefix":
            return Subject(SchemaOf.STATE, message.state_prefix)
        case _:
            raise Invalid("a schema is of a kind of events or of states", metadata={"field": "subject"})


def _compatibility(number: schema_pb2.SchemaCompatibility.ValueType) -> Compatibility:
    known = _COMPATIBILITIES.get(number)
    if known is None:
        raise Invalid(f"compatibility {number} is not known", metadata={"field": "compatibility"})
    return known


def _info(record: SchemaRecord, *, document: bool) -> schema_pb2.SchemaInfo:
    return schema_pb2.SchemaInfo(
        namespace=record.namespace,
        subject=messages.schema_subject(record.subject),
        version=record.version,
        document=record.document if document else b"",
        hash=record.hash,
        compatibility=schema_pb2.SchemaCompatibility.ValueType(record.compatibility),
        actor=record.actor,
        time_unix_ms=record.time_unix_ms,
        revision=messages.revision(record.position),
    )


def _problems(problems: Sequence[Problem]) -> list[schema_pb2.SchemaProblem]:
    return [schema_pb2.SchemaProblem(path=each.path, rule=each.rule, message=each.message) for each in problems]
