"""Commands on payloads to the messages of log/v1 and back.

Rules of this file: those of `commands.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from tallystick.errors import Invalid, Reason
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.manifests import CHUNK_ENTRY_BYTES, chunks_of
from tallystick_node.core.payload_records import CollectPayloads, PayloadCommand, PutChunks, PutPayload
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_name, check_number

HASH_BYTES: Final = 32
"""An id of a payload, and the hash of a chunk."""


def encode_payload_command(command: PayloadCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name, a length or a manifest breaks a rule.
    """
    check_name("namespace", command.namespace)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case PutChunks():
            check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
            _check_chunks(command.chunks)
            put = log_pb2.PutChunks(namespace=command.namespace, chunks=command.chunks, actor=command.actor)
            message.put_chunks.CopyFrom(put)
        case PutPayload():
            check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
            _check_manifest(command.manifest)
            message.put_payload.CopyFrom(
                log_pb2.PutPayload(namespace=command.namespace, manifest=command.manifest, actor=command.actor)
            )
        case CollectPayloads():
            check_number("limit", command.limit, limits.COLLECTED_AT_ONCE)
            message.collect_payloads.CopyFrom(
                log_pb2.CollectPayloads(
                    namespace=command.namespace, before_unix_ms=command.before_unix_ms, limit=command.limit
                )
            )
        case _:
            assert_never(command)
    return message


def decode_payload_command(message: log_pb2.Command) -> PayloadCommand:
    """A command that was encoded here.

    Raises:
        UnsupportedFormat: this version does not know it.
    """
    time_unix_ms = message.time_unix_ms
    match message.WhichOneof("body"):
        case "put_chunks":
            chunks = message.put_chunks
            return PutChunks(time_unix_ms, chunks.namespace, tuple(chunks.chunks), chunks.actor)
        case "put_payload":
            payload = message.put_payload
            return PutPayload(time_unix_ms, payload.namespace, payload.manifest, payload.actor)
        case "collect_payloads":
            collect = message.collect_payloads
            return CollectPayloads(time_unix_ms, collect.namespace, collect.before_unix_ms, collect.limit)
        case _:
            raise UnsupportedFormat("a command that this version does not know")


def check_hashes(field: str, hashes: Sequence[bytes], limit: int) -> None:
    """Raises `Invalid` unless these are SHA-256s, and no more than `limit`."""
    _check_count(field, len(hashes), limit)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise Invalid(f"{field}: a hash has {HASH_BYTES} bytes", metadata={"field": field})


def _check_chunks(chunks: Sequence[bytes]) -> None:
    if not chunks:
        raise Invalid("there is at least one chunk", metadata={"field": "chunks"})
    _check_count("chunks", len(chunks), limits.PUT_CHUNKS)
    for chunk in chunks:
        check_bytes("chunks", chunk, limits.CHUNK_BYTES)
        if not chunk:
            raise Invalid("a chunk is empty", metadata={"field": "chunks"})
    total = sum(map(len, chunks))
    if total > limits.PUT_CHUNKS_BYTES:
        raise Invalid(
            f"the chunks have {total} bytes, the limit is {limits.PUT_CHUNKS_BYTES} at once",
            reason=Reason.TOO_LARGE,
            metadata={"field": "chunks", "limit": str(limits.PUT_CHUNKS_BYTES), "unit": "bytes"},
        )


def _check_manifest(manifest: bytes) -> None:
    _check_count("manifest", len(manifest) // CHUNK_ENTRY_BYTES, limits.PAYLOAD_CHUNKS)
    if len(manifest) % CHUNK_ENTRY_BYTES:
        raise Invalid(
            f"the manifest has {len(manifest)} bytes: {CHUNK_ENTRY_BYTES} for each chunk are wanted",
            metadata={"field": "manifest"},
        )
    if any(not 0 < chunk.size_bytes <= limits.CHUNK_BYTES for chunk in chunks_of(manifest)):
        raise Invalid(
            f"the manifest: a chunk has 1 to {limits.CHUNK_BYTES} bytes",
            metadata={"field": "manifest", "limit": str(limits.CHUNK_BYTES)},
        )


def _check_count(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise Invalid(
            f"{field}: {count}, the limit is {limit}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limit), "unit": "items"},
        )
