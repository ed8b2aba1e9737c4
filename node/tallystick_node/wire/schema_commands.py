"""The command on schemas to the message of log/v1 and back.

Rules of this file: those of `commands.py`. What a document says is checked elsewhere (`schemas/documents.py`).
"""

from __future__ import annotations

from typing import Final

from tallystick.errors import Invalid
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.schema_records import Compatibility, RegisterSchema, SchemaOf, Subject
from tallystick_node.wire.fields import check_bytes, check_name, check_number
from tallystick_node.wire.mutations import RESERVED_KINDS, STATE_KIND

_VERSION_MAX: Final = 2**31 - 1


def encode_schema_command(command: RegisterSchema) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name, a number or a length breaks a rule.
    """
    check_name("namespace", command.namespace)
    check_subject(command.subject)
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    check_bytes("document", command.document, limits.SCHEMA_DOCUMENT_BYTES)
    check_number("version", command.version, _VERSION_MAX)
    register = log_pb2.RegisterSchema(
        namespace=command.namespace,
        of=int(command.subject.of),
        name=command.subject.name,
        version=command.version,
        document=command.document,
        compatibility=int(command.compatibility),
        actor=command.actor,
    )
    return log_pb2.Command(time_unix_ms=command.time_unix_ms, register_schema=register)


def decode_schema_command(message: log_pb2.Command) -> RegisterSchema:
    """A command that was encoded here."""
    register = message.register_schema
    return RegisterSchema(
        message.time_unix_ms,
        register.namespace,
        Subject(SchemaOf(register.of), register.name),
        register.version,
        register.document,
        Compatibility(register.compatibility),
        register.actor,
    )


def check_subject(subject: Subject) -> None:
    """Raises `Invalid` unless it is a kind that a client may hand in, or may begin an agent's name."""
    if subject.of is SchemaOf.STATE:
        if subject.name:
            check_name("subject", subject.name)
        return
    check_name("subject", subject.name)
    if subject.name == STATE_KIND or subject.name.startswith(RESERVED_KINDS):
        raise Invalid(
            f"events of kind {subject.name!r} have no schema: it is for kinds of your own",
            metadata={"field": "subject"},
        )
