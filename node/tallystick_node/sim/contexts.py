"""What a workload asks and is told of contexts that are decided, and what must hold of it.

Rules of this file:
- A document is put down with all that is known of it: asked for, acknowledged, its end asked for, its end acknowledged.
- Writer ids that were acknowledged are nobody else's; what was undecided may have cost ids, and no more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick import Client, ContextChange, ContextEvent, ContextInfo
from tallystick._methods import allocate_writers_method
from tallystick.errors import NotFound, Refused, TallystickError
from tallystick.v1 import context_pb2

NAMES: Final = ("plan", "notes", "board")
WRITERS: Final = 16
"""Writer ids asked for at once, at most."""


@dataclass
class ContextRecords:
    """What was asked and told.

    Attributes:
        asked: name by guid, of each document that was to be created.
        created: guids whose creation was acknowledged.
        to_delete: guids whose end was asked for.
        deleted: guids whose end was acknowledged.
        writers: first id and count of each block that was acknowledged.
        watched: what the watch told of contexts.
        wrong: answers that were wrong by themselves.
    """

    asked: dict[bytes, str] = field(default_factory=dict)
    created: set[bytes] = field(default_factory=set)
    to_delete: set[bytes] = field(default_factory=set)
    deleted: set[bytes] = field(default_factory=set)
    writers: list[tuple[int, int]] = field(default_factory=list)
    watched: list[ContextEvent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def act(client: Client, records: ContextRecords, actor: str, rng: random.Random) -> None:
    """One operation."""
    action = rng.choice((_create, _create_again, _delete, _allocate))
    await action(client, records, actor, rng)


async def _create(client: Client, records: ContextRecords, _actor: str, rng: random.Random) -> None:
    guid, name = rng.randbytes(16), rng.choice(NAMES)
    records.asked[guid] = name
    await create_as(client, records, guid, name)


async def _create_again(client: Client, records: ContextRecords, _actor: str, rng: random.Random) -> None:
    """A late retry, perhaps of a document that is gone."""
    if records.asked:
        guid, name = rng.choice(list(records.asked.items()))
        gone = guid in records.deleted
        if await create_as(client, records, guid, name) and gone:
            records.wrong.append(f"{name} {guid.hex()} was deleted and came back")


async def create_as(client: Client, records: ContextRecords, guid: bytes, name: str) -> bool:
    """Creates a document; whether that was acknowledged."""
    try:
        made = await client.create_context(name, guid=guid)
    except TallystickError:
        return False
    if (made.guid, made.name) != (guid, name):
        records.wrong.append(f"created {name} {guid.hex()}, and was told of {made.name} {made.guid.hex()}")
    records.created.add(guid)
    return True


async def _delete(client: Client, records: ContextRecords, _actor: str, rng: random.Random) -> None:
    try:
        found = await client.describe_context(rng.choice(NAMES))
        records.to_delete.add(found.guid)
        await client.delete_context(found.name, guid=found.guid)
    except TallystickError:
        return
    records.deleted.add(found.guid)


async def _allocate(client: Client, records: ContextRecords, actor: str, rng: random.Random) -> None:
    calls = client._calls  # noqa: SLF001 - the call of a replica that needs ids, without the replica
    request = context_pb2.AllocateWritersRequest(namespace=client.namespace, actor=actor, count=rng.randint(1, WRITERS))
    try:
        given = await calls.change(allocate_writers_method, request, calls.retry(None))
    except TallystickError:
        return
    records.writers.append((given.first, given.count))


class Found(NamedTuple):
    """The contexts that there are, as of a position."""

    there: list[ContextInfo]
    position: int


async def found(client: Client) -> Found:
    """What there is now, of fewer contexts than a page has."""
    there = [info async for info in client.contexts()]
    return Found(there, max(revision.position for revision in client.session))


async def broken(client: Client, documents: Found, records: ContextRecords) -> list[str]:
    """What does not hold, once everything is healed and the watch has told all up to what was found."""
    complaints = [
        *records.wrong,
        *_of_documents(documents.there, records),
        *_of_writers(records),
        *_of_events(documents, records),
    ]
    for guid in sorted(records.deleted):
        try:
            await client.create_context(records.asked[guid], guid=guid)
        except NotFound:
            continue
        except Refused as error:
            complaints.append(f"{guid.hex()} is gone, and creating it anew is refused as {error.reason}")
        else:
            complaints.append(f"{guid.hex()} was deleted and came back")
    return complaints


def _of_documents(there: Iterable[ContextInfo], records: ContextRecords) -> Iterator[str]:
    found = {info.guid: info.name for info in there}
    for guid, name in found.items():
        if records.asked.get(guid) != name:
            yield f"{name} {guid.hex()} is there and nobody asked for it"
        if guid in records.deleted:
            yield f"{name} {guid.hex()} is there though its end was acknowledged"
    for guid in sorted(records.created - records.to_delete - found.keys()):
        yield f"{records.asked[guid]} {guid.hex()} was acknowledged and is not there"


def _of_writers(records: ContextRecords) -> Iterator[str]:
    end = 2**32
    for first, count in sorted(records.writers):
        if first < end:
            yield f"writer ids from {first} on were handed out twice"
        end = first + count


def _of_events(documents: Found, records: ContextRecords) -> Iterator[str]:
    """Each creation and each end once, in this order, and as many as there must be."""
    begun: set[bytes] = set()
    ended: set[bytes] = set()
    position = 0
    for event in records.watched:
        if event.revision.position > documents.position:
            break
        if event.revision.position <= position:
            yield f"the watch told of position {event.revision.position} after {position}"
        position = event.revision.position
        if event.change is ContextChange.CREATED:
            if event.guid in begun:
                yield f"{event.guid.hex()} was created twice"
            begun.add(event.guid)
        elif event.change is ContextChange.DELETED:
            if event.guid not in begun - ended:
                yield f"{event.guid.hex()} ended and was not there"
            ended.add(event.guid)
    alive = {info.guid for info in documents.there}
    if begun - ended != alive:
        yield f"the watch leaves {len(begun - ended)} contexts, and there are {len(alive)}"
    for what, missing in (("creations", records.created - begun), ("ends", records.deleted - ended)):
        if missing:
            yield f"{len(missing)} {what} were acknowledged and not watched"
