"""The use cases of contexts that are decided: which there are, whose writer ids are, epochs and versions.

Rules of this file:
- What does not depend on the tables is refused before anything is proposed.
- Reads that name no consistency are of what this node has applied: the merged half asks them for every edit.
- Listeners hear of a change after it is committed, in order; after a snapshot they hear that all may be other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.errors import Invalid, NotFound, Reason, Refused
from tallystick_node.access import Access, Consistency, ReadFrom, page_items
from tallystick_node.contexts import limits
from tallystick_node.contexts.schemas import declaring as schemas
from tallystick_node.contexts.updates.admission import Bounds, Origin, admit
from tallystick_node.core.commands import (
    AllocateWriters,
    CreateContext,
    DeleteContext,
    SaveVersion,
    SealContext,
    StartEpoch,
    Target,
)
from tallystick_node.core.contexts import not_found
from tallystick_node.core.outcomes import (
    ContextChanged,
    ContextDecided,
    ContextDeleted,
    ContextRecord,
    Event,
    VersionRecord,
    VersionSaved,
    WritersGiven,
)
from tallystick_node.core.values import parse_json
from tallystick_node.storage.context_reads import ContextReads, Owner
from tallystick_node.storage.pages import Page
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.context_commands import check_context_name
from tallystick_node.wire.fields import check_bytes, check_name, check_number

OWNERS_KEPT: Final = 10_000
"""Writer ids whose owners are kept in memory; those asked for longest ago go first."""

DOCUMENTS_PAGE: Final = 500
"""Documents of one page of `all_documents`."""

SCHEMA_DEPTH: Final = 32
"""Nesting of a schema."""


class ContextListener(Protocol):
    """Who must follow what is decided: the hub, the worker."""

    def context_decided(self, event: ContextDecided) -> None:
        """A change is committed. Must not raise, nor wait."""
        ...

    def contexts_replaced(self) -> None:
        """Everything may have changed: look at `all_documents`. Must not raise, nor wait."""
        ...


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be: see `core.commands.SaveVersion`. `content` is compressed."""

    name: str
    cursor: bytes
    content: bytes
    target: Target | None = None
    checkpoint: str = ""


class DecidedContexts:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: ContextReads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms
        self._listeners: list[ContextListener] = []
        self._owners: OrderedDict[int, Owner] = OrderedDict()

    # Decided.

    async def create(
        self, namespace: str, name: str, guid: bytes, *, actor: str, schema: bytes, seed: bytes, timeout_s: float
    ) -> ContextRecord:
        """Gives a name to a new document; with the same guid again it is the same request.

        Raises:
            Refused: AlreadyExists (the name is another's), NotFound (the guid was deleted), Invalid.
            Unavailable, Undecided: as `Store.append`.
        """
        check_bytes("schema", schema, limits.SCHEMA_BYTES)
        if schema and not isinstance(parse_json(schema, "schema", depth_limit=SCHEMA_DEPTH), dict):
            raise Invalid("schema is not an object", reason=Reason.INVALID_JSON, metadata={"field": "schema"})
        if schema:
            schemas.read(schema)
        _check_base("seed", seed, limits.SEED_BYTES)
        command = CreateContext(self._clock_ms(), namespace, name, guid, schema, seed, actor)
        done = await self._access.decide(encode_command(command), timeout_s, ContextChanged)
        return done.record

    async def delete(self, namespace: str, name: str, guid: bytes, *, actor: str, timeout_s: float) -> ContextDeleted:
        """Removes a document for ever: the one with the guid, or, if that is empty, whichever has the name.

        Raises:
            Refused: NotFound, Invalid.
            Unavailable, Undecided: as `Store.append`.
        """
        command = DeleteContext(self._clock_ms(), namespace, name, guid, actor)
        return await self._access.decide(encode_command(command), timeout_s, ContextDeleted)

    async def allocate_writers(self, namespace: str, count: int, *, actor: str, timeout_s: float) -> WritersGiven:
        """Writer ids that nobody had before. Each call hands out others.

        Raises:
            Refused: Invalid, QuotaExceeded.
            Unavailable, Undecided: as `Store.append`; asking again costs ids and does no harm.
        """
        check_number("count", count, limits.WRITERS_BLOCK)
        command = AllocateWriters(self._clock_ms(), namespace, count, actor)
        return await self._access.decide(encode_command(command), timeout_s, WritersGiven)

    async def seal(self, guid: bytes, epoch: int, *, actor: str, timeout_s: float) -> ContextRecord:
        """Ends an epoch: no node takes an edit of it any more, but from its peers. `record.seal` names the seal.

        Raises:
            Refused: NotFound, Conflict (`EPOCH_CONFLICT`).
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = SealContext(self._clock_ms(), guid, epoch, actor)
        done = await self._access.decide(encode_command(command), timeout_s, ContextChanged)
        return done.record

    async def start_epoch(
        self, guid: bytes, epoch: int, seal: int, base: bytes, *, actor: str, timeout_s: float
    ) -> ContextRecord:
        """Begins the epoch after a sealed one with this base; without a base the seal is undone and the epoch stays.

        Args:
            epoch: the new one, one above the present.
            seal: `ContextRecord.seal` of the seal that it follows.

        Raises:
            Refused: NotFound, Conflict (`EPOCH_CONFLICT`: another epoch, or another seal), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        _check_base("base", base, limits.BASE_BYTES)
        command = StartEpoch(self._clock_ms(), guid, epoch, seal, base, actor)
        done = await self._access.decide(encode_command(command), timeout_s, ContextChanged)
        return done.record

    async def save_version(
        self, guid: bytes, epoch: int, version: NewVersion, *, actor: str, timeout_s: float
    ) -> VersionRecord:
        """Names what a document is now, for ever; the same content under the same name again is the same request.

        Raises:
            Refused: AlreadyExists, NotFound, Conflict (`EPOCH_CONFLICT`), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again with the same content is safe.
        """
        check_bytes("content", version.content, limits.VERSION_BYTES)
        command = SaveVersion(
            self._clock_ms(),
            guid,
            epoch,
            version.name,
            version.cursor,
            version.content,
            version.target,
            version.checkpoint,
            actor,
        )
        done = await self._access.decide(encode_command(command), timeout_s, VersionSaved)
        return done.version

    # Read, as a caller asks.

    async def describe(self, namespace: str, name: str, read_from: ReadFrom) -> ContextRecord:
        """The document of that name.

        Raises:
            NotFound: there is none.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_context_name(namespace, name)
        await self._access.ready(read_from)
        return self.info(namespace, name)

    async def contexts(
        self, namespace: str, prefix: str, after: str, limit: int, read_from: ReadFrom
    ) -> Page[ContextRecord]:
        """A page of the contexts of a namespace, by name. Raises as `describe`."""
        check_name("namespace", namespace)
        if prefix:
            check_name("prefix", prefix)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.contexts(namespace, prefix, after, items))

    async def versions(
        self, namespace: str, name: str, after: str, limit: int, read_from: ReadFrom
    ) -> Page[VersionRecord]:
        """A page of the versions of a document, by name. Raises as `describe`."""
        record = await self.describe(namespace, name, read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.versions(record.guid, after, items))

    async def owner_of(self, writer: int, timeout_s: float) -> Owner | None:
        """Whose a writer id is; where this node does not know it yet, as of now in the whole cluster.

        Raises:
            Unavailable, Undecided: it is not known here, and the majority does not answer.
        """
        owner = self.known_owner(writer)
        if owner is None:
            await self._access.ready(ReadFrom(Consistency.LINEARIZABLE, 0, timeout_s))
            owner = self.known_owner(writer)
        return owner

    # Read as it is here and now.

    def info(self, namespace: str, name: str) -> ContextRecord:
        """The document of that name, as this node has applied it.

        Raises:
            NotFound: there is none.
        """
        record = self._access.looked_up(lambda: self._reads.named(namespace, name))
        if record is None:
            raise not_found(namespace, name)
        return record

    def info_by_guid(self, guid: bytes) -> ContextRecord | None:
        """The document, as this node has applied it; None: not yet, or not any more."""
        return self._access.looked_up(lambda: self._reads.context(guid))

    def was_deleted(self, guid: bytes) -> bool:
        """Whether the end of the document is decided, as far as this node has applied."""
        return self._access.looked_up(lambda: self._reads.was_deleted(guid))

    def base(self, guid: bytes) -> bytes:
        """What the present epoch of a document began with: an update of writer 1, or empty: also if it is gone."""
        return self._access.looked_up(lambda: self._reads.base(guid)) or b""

    def base_of(self, guid: bytes, epoch: int) -> bytes | None:
        """What this epoch of a document began with; None: it is not the present one, or the document is gone."""
        return self._access.looked_up(lambda: self._reads.base_of(guid, epoch))

    def known_owner(self, writer: int) -> Owner | None:
        """Whose a writer id is, as far as this node has applied."""
        owner = self._owners.get(writer)
        if owner is not None:
            self._owners.move_to_end(writer)
            return owner
        owner = self._access.looked_up(lambda: self._reads.owner(writer))
        if owner is not None:
            self._owners[writer] = owner
            if len(self._owners) > OWNERS_KEPT:
                self._owners.popitem(last=False)
        return owner

    def all_documents(self, after_guid: bytes = b"") -> Page[ContextRecord]:
        """A page of all documents, by guid, as this node has applied them."""
        return self._access.looked_up(lambda: self._reads.documents(after_guid, DOCUMENTS_PAGE))

    def version(self, record: ContextRecord, name: str) -> tuple[VersionRecord, bytes]:
        """A version of a document that lives, and its content as handed in.

        Raises:
            NotFound: `VERSION_NOT_FOUND`.
        """
        found = self._access.looked_up(lambda: self._reads.version(record.guid, name))
        if found is None:
            raise NotFound(
                f"context {record.name!r} has no version {name!r}",
                reason=Reason.VERSION_NOT_FOUND,
                metadata={"context": record.name, "version": name},
            )
        return found, self._access.looked_up(lambda: self._reads.version_content(found))

    # Follow.

    def listen(self, listener: ContextListener) -> None:
        """From now on tell it of what is decided; what was before, it finds in `all_documents`."""
        self._listeners.append(listener)

    def heard(self, events: Sequence[Event]) -> None:
        """What was committed; nothing at all: a snapshot took the place of what was applied."""
        if not events:
            self._owners.clear()
            for listener in self._listeners:
                listener.contexts_replaced()
        for event in events:
            if isinstance(event, ContextDecided):
                for listener in self._listeners:
                    listener.context_decided(event)


def _check_base(field: str, update: bytes, limit: int) -> None:
    """Raises `Invalid` unless it is empty, or an update of writer 1 alone that needs nothing else."""
    check_bytes(field, update, limit)
    if not update:
        return
    try:
        admitted = admit(update, {}, origin=Origin.SEED, bounds=Bounds(update_bytes=limit))
    except Refused as error:
        error.metadata["field"] = field
        raise
    if admitted.lacks or not admitted.is_novel:
        raise Invalid(
            f"{field}: the update builds on what is not in it, or is empty",
            reason=Reason.MALFORMED_UPDATE,
            metadata={"field": field},
        )
