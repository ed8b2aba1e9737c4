"""What nodes remember of a context: edits, lines of blame, overlaps, versions. Values, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tallystick import _convert
from tallystick._infos import ContextInfo
from tallystick._json import JSON, decode
from tallystick._times import to_time
from tallystick._values import Revision
from tallystick.contexts.cursor import Cursor
from tallystick.v1 import context_pb2


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit, as the node that answers merged it.

    Attributes:
        number: of that node's update log; other nodes have others.
        writer: whose ids it wrote, from `clock` up to, not with, `end_clock`.
        deletes: how many ids it deleted.
        actor: who made it; "": somebody of another protocol.
        time_unix_ms: when it was made, by the clock of who made it.
        node_id: the node that took it.
        merged_unix_ms: when the node that answers had it.
        flags: what of the schema it broke.
    """

    number: int
    writer: int
    clock: int
    end_clock: int
    deletes: int
    actor: str
    cause: str
    time_unix_ms: int
    node_id: str
    merged_unix_ms: int
    flags: tuple[str, ...]

    @property
    def time(self) -> datetime:
        """When it was made."""
        return to_time(self.time_unix_ms)

    @property
    def merged(self) -> datetime:
        """When the node that answers had it."""
        return to_time(self.merged_unix_ms)


@dataclass(frozen=True, slots=True)
class BlameLine:
    """Who wrote what is there now.

    Attributes:
        path: JSON Pointer; of a text, one line for each run of characters: `/notes/0-12`.
        value: what is there.
        edit: who, and when.
    """

    path: str
    value: JSON
    edit: Edit


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two edits of one key or range, neither of which knew the other.

    Attributes:
        number: of the edit that came second to the node that answers.
        kind: "key", "insert" or "delete".
        first_value: where it is known.
    """

    number: int
    path: str
    kind: str
    first: Edit
    second: Edit
    first_value: JSON
    second_value: JSON


@dataclass(frozen=True, slots=True)
class Version:
    """A named version: what the document was, for ever.

    Attributes:
        agent: whose checkpoint it belongs to, with `checkpoint`; "" if none.
        size_bytes: as it is kept.
    """

    name: str
    cursor: Cursor
    actor: str
    agent: str
    branch: str
    checkpoint: str
    time_unix_ms: int
    size_bytes: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was saved."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class ContextMeasure:
    """A context, and what the node that answers has of it.

    Attributes:
        node_id: who answers.
        document_size_bytes: the document, encoded.
        stored_size_bytes: with the update log.
        updates: in the update log.
        writers: ids that ever wrote in this epoch.
        tombstones: deleted items that the document still carries.
        subscribers: who has it open at this node.
        cursor: what the node holds; None: it could not say so at the moment, and the sizes are 0.
    """

    info: ContextInfo
    node_id: str
    document_size_bytes: int
    stored_size_bytes: int
    updates: int
    writers: int
    tombstones: int
    subscribers: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class NodeDigest:
    """What a voter holds: the digest of all that it was asked for; "" with an `error` if it did not say."""

    node_id: str
    digest: bytes
    documents: int
    error: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Whether the voters hold equal documents.

    Attributes:
        equal: all voters answered, with equal digests.
        different: namespace and name of those that differ; at most 100.
    """

    equal: bool
    nodes: tuple[NodeDigest, ...]
    different: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Compaction:
    """A document rebuilt in a new epoch, and what it took and takes."""

    info: ContextInfo
    size_before_bytes: int
    size_after_bytes: int


def edit(message: context_pb2.Edit) -> Edit:
    """An edit that came."""
    return Edit(
        number=message.number,
        writer=message.writer,
        clock=message.clock,
        end_clock=message.end_clock,
        deletes=message.deletes,
        actor=message.actor,
        cause=message.cause,
        time_unix_ms=message.time_unix_ms,
        node_id=message.node_id,
        merged_unix_ms=message.merged_unix_ms,
        flags=tuple(message.flags),
    )


def blame_line(message: context_pb2.BlameLine) -> BlameLine:
    """A line that came."""
    return BlameLine(message.path, decode(message.value), edit(message.edit))


def overlap(message: context_pb2.Overlap) -> Overlap:
    """An overlap that came."""
    return Overlap(
        number=message.number,
        path=message.path,
        kind=message.kind,
        first=edit(message.first),
        second=edit(message.second),
        first_value=decode(message.first_value),
        second_value=decode(message.second_value),
    )


def version(message: context_pb2.VersionInfo) -> Version:
    """A version that came."""
    return Version(
        name=message.name,
        cursor=Cursor.of(message.cursor),
        actor=message.actor,
        agent=message.agent.agent,
        branch=message.agent.branch,
        checkpoint=message.checkpoint,
        time_unix_ms=message.time_unix_ms,
        size_bytes=message.size_bytes,
        revision=_convert.revision(message.revision),
    )


def measure(message: context_pb2.DescribeContextResponse) -> ContextMeasure:
    """A measure that came."""
    size = message.size
    return ContextMeasure(
        info=_convert.context_info(message.info),
        node_id=message.header.node_id,
        document_size_bytes=size.document_bytes,
        stored_size_bytes=size.stored_bytes,
        updates=size.updates,
        writers=size.writers,
        tombstones=size.tombstones,
        subscribers=message.subscribers,
        cursor=Cursor.of(message.cursor) if message.HasField("cursor") else None,
    )


def verified(message: context_pb2.VerifyContextsResponse) -> Verified:
    """A comparison that came."""
    return Verified(
        equal=message.equal,
        nodes=tuple(NodeDigest(one.node_id, one.digest, one.documents, one.error) for one in message.nodes),
        different=tuple((ref.namespace, ref.name) for ref in message.different),
    )


def compaction(message: context_pb2.CompactContextResponse) -> Compaction:
    """A new epoch that came."""
    return Compaction(_convert.context_info(message.info), message.bytes_before, message.bytes_after)
