"""The use cases of contexts that are decided, over a real database; consensus is a function that says yes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pycrdt
import pytest

from tallystick.errors import AlreadyExists, Conflict, Invalid, NotFound, Reason
from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.runner import Runner
from tallystick_node.context_store import decided
from tallystick_node.context_store.decided import DecidedContexts, NewVersion
from tallystick_node.contexts import limits
from tallystick_node.core.commands import AllocateWriters, Target
from tallystick_node.core.outcomes import ContextChange, ContextDecided, Event
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import encode_command

GUID = bytes(range(16))
OTHER = bytes(range(16, 32))
LOCAL = ReadFrom(Consistency.LOCAL, 0, 1.0)
TIMEOUT_S = 5.0


class AgreeingRunner:
    """What `Access` asks of consensus: each proposal is decided at once."""

    may_be_read = True

    def __init__(self) -> None:
        self.machine: Machine | None = None
        self.confirmed = 0
        self.late: list[bytes] = []
        """Decided by others, and applied here with the next confirmation."""

    def apply(self, data: bytes) -> Outcomes:
        assert self.machine is not None
        ((outcomes,),) = self.machine.apply([CommittedEntry(self.machine.applied_index + 1, 1, (data,))])
        return outcomes

    async def propose(self, data: bytes, _timeout_s: float) -> Outcomes:
        return self.apply(data)

    async def confirm_read(self, _timeout_s: float) -> None:
        self.confirmed += 1
        while self.late:
            self.apply(self.late.pop(0))


class Listener:
    """Puts down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[ContextChange, str, int]] = []
        self.replaced = 0

    def context_decided(self, event: ContextDecided) -> None:
        self.heard.append((event.change, event.name, event.epoch))

    def contexts_replaced(self) -> None:
        self.replaced += 1


class Stage:
    """The use cases with what they stand on."""

    def __init__(self, path: Path) -> None:
        self.database = Database.open(path)
        self.runner = AgreeingRunner()
        self.machine = Machine(self.database, self._publish)
        self.runner.machine = self.machine
        access = Access(cast("Runner[Outcomes]", self.runner), self.machine, lambda error: None)
        self.contexts = DecidedContexts(access, self.database.reads.contexts, lambda: 1000)

    def _publish(self, events: Sequence[Event], _position: int) -> None:
        self.contexts.heard(events)

    async def create(self, name: str = "plan", guid: bytes = GUID, *, schema: bytes = b"", seed: bytes = b"") -> None:
        record = await self.contexts.create(
            "demo", name, guid, actor="me", schema=schema, seed=seed, timeout_s=TIMEOUT_S
        )
        assert (record.name, record.guid, record.actor) == (name, guid, "me")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "state.db")
    yield made
    made.database.close()


def update_of(client_id: int) -> bytes:
    doc: pycrdt.Doc[pycrdt.Map[object]] = pycrdt.Doc(client_id=client_id)
    doc.get("tasks", type=pycrdt.Map)["t1"] = "open"
    return doc.get_update()


async def test_a_seed_is_the_base_of_the_first_epoch(stage: Stage) -> None:
    seed = update_of(limits.BASE_WRITER)
    await stage.create(schema=b'{"roots":{}}', seed=seed)
    await stage.create(schema=b'{"roots":{}}', seed=seed)
    assert stage.contexts.base(GUID) == seed
    assert stage.contexts.info("demo", "plan").schema == b'{"roots":{}}'
    assert stage.machine.position == 1


@pytest.mark.parametrize(
    ("schema", "seed", "reason", "field"),
    [
        (b"", update_of(2), Reason.FOREIGN_WRITER, "seed"),
        (b"", b"\x00\x00", Reason.MALFORMED_UPDATE, "seed"),
        (b"", b"nonsense", Reason.MALFORMED_UPDATE, "seed"),
        (b"", bytes(limits.SEED_BYTES + 1), Reason.TOO_LARGE, "seed"),
        (b"[]", b"", Reason.INVALID_JSON, "schema"),
        (b"{", b"", Reason.INVALID_JSON, "schema"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, b"", Reason.TOO_DEEP, "schema"),
        (bytes(limits.SCHEMA_BYTES + 1), b"", Reason.TOO_LARGE, "schema"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
async def test_what_a_context_cannot_begin_with(
    stage: Stage, schema: bytes, seed: bytes, reason: Reason, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await stage.create(schema=schema, seed=seed)
    assert (refused.value.reason, refused.value.metadata["field"]) == (reason, field)
    assert stage.machine.applied_index == 0, "nothing was proposed"


async def test_an_epoch_begins_under_its_seal(stage: Stage) -> None:
    await stage.create()
    contexts = stage.contexts
    sealed = await contexts.seal(GUID, 1, actor="me", timeout_s=TIMEOUT_S)
    assert sealed.is_sealed
    base = update_of(limits.BASE_WRITER)
    with pytest.raises(Invalid) as foreign:
        await contexts.start_epoch(GUID, 2, sealed.seal, update_of(7), actor="me", timeout_s=TIMEOUT_S)
    assert foreign.value.metadata["field"] == "base"
    with pytest.raises(Conflict) as conflict:
        await contexts.start_epoch(GUID, 2, sealed.seal + 1, base, actor="me", timeout_s=TIMEOUT_S)
    assert conflict.value.reason is Reason.EPOCH_CONFLICT
    unsealed = await contexts.start_epoch(GUID, 2, sealed.seal, b"", actor="me", timeout_s=TIMEOUT_S)
    assert (unsealed.epoch, unsealed.is_sealed) == (1, False)
    again = await contexts.seal(GUID, 1, actor="me", timeout_s=TIMEOUT_S)
    started = await contexts.start_epoch(GUID, 2, again.seal, base, actor="me", timeout_s=TIMEOUT_S)
    assert (started.epoch, started.is_sealed) == (2, False)
    assert contexts.base(GUID) == base
    assert contexts.info_by_guid(GUID) == started


async def test_versions_come_back_as_they_were_kept(stage: Stage) -> None:
    await stage.create()
    contexts = stage.contexts
    version = NewVersion("v1", b"cursor", b"content", Target("demo", "a"), "c1")
    saved = await contexts.save_version(GUID, 1, version, actor="me", timeout_s=TIMEOUT_S)
    assert (saved.target, saved.checkpoint, saved.size_bytes) == (Target("demo", "a"), "c1", 7)
    plain = NewVersion("v2", b"", b"other")
    await contexts.save_version(GUID, 1, plain, actor="", timeout_s=TIMEOUT_S)
    assert await contexts.save_version(GUID, 1, version, actor="you", timeout_s=TIMEOUT_S) == saved
    with pytest.raises(AlreadyExists) as taken:
        await contexts.save_version(GUID, 1, NewVersion("v1", b"", b"another"), actor="me", timeout_s=TIMEOUT_S)
    assert taken.value.reason is Reason.VERSION_EXISTS
    record = contexts.info("demo", "plan")
    assert contexts.version(record, "v1") == (saved, b"content")
    assert contexts.version(record, "v2")[0].target is None
    with pytest.raises(NotFound) as missing:
        contexts.version(record, "v3")
    assert missing.value.reason is Reason.VERSION_NOT_FOUND
    first = await contexts.versions("demo", "plan", "", 1, LOCAL)
    assert ([each.name for each in first.items], first.more) == (["v1"], True)
    rest = await contexts.versions("demo", "plan", "v1", 0, LOCAL)
    assert ([each.name for each in rest.items], rest.more) == (["v2"], False)
    too_large = NewVersion("v9", b"", bytes(limits.VERSION_BYTES + 1))
    with pytest.raises(Invalid):
        await contexts.save_version(GUID, 1, too_large, actor="me", timeout_s=TIMEOUT_S)


async def test_listeners_hear_of_changes_in_order(stage: Stage) -> None:
    listener = Listener()
    stage.contexts.listen(listener)
    await stage.create()
    await stage.create()
    await stage.contexts.allocate_writers("demo", 3, actor="me", timeout_s=TIMEOUT_S)
    await stage.contexts.seal(GUID, 1, actor="me", timeout_s=TIMEOUT_S)
    with pytest.raises(AlreadyExists):
        await stage.create(guid=OTHER)
    await stage.contexts.delete("demo", "plan", b"", actor="me", timeout_s=TIMEOUT_S)
    assert listener.heard == [
        (ContextChange.CREATED, "plan", 1),
        (ContextChange.SEALED, "plan", 1),
        (ContextChange.DELETED, "plan", 1),
    ]
    assert listener.replaced == 0
    stage.machine.replaced()
    assert listener.replaced == 1


async def test_owners_are_known_or_asked_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "OWNERS_KEPT", 3)
    contexts = stage.contexts
    given = await contexts.allocate_writers("demo", 2, actor="me", timeout_s=TIMEOUT_S)
    assert given.first == limits.FIRST_WRITER
    assert await contexts.owner_of(given.first + 1, TIMEOUT_S) == ("demo", "me")
    assert stage.runner.confirmed == 0
    assert contexts.known_owner(given.first - 1) is None
    assert contexts.known_owner(given.first + 2) is None
    stage.runner.late.append(encode_command(AllocateWriters(1000, "side", 5, "you")))
    assert await contexts.owner_of(given.first + 2, TIMEOUT_S) == ("side", "you")
    assert stage.runner.confirmed == 1
    assert await contexts.owner_of(given.first + 7, TIMEOUT_S) is None
    for writer in range(given.first, given.first + 7):
        assert contexts.known_owner(writer) is not None
    assert len(contexts._owners) == 3
    with pytest.raises(Invalid) as too_many:
        await contexts.allocate_writers("demo", limits.WRITERS_BLOCK + 1, actor="me", timeout_s=TIMEOUT_S)
    assert too_many.value.metadata["field"] == "count"


async def test_listings_are_pages(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided, "DOCUMENTS_PAGE", 2)
    for number in range(5):
        await stage.create(f"{'plan' if number % 2 else 'note'}-{number}", bytes([number] * 16))
    first = await stage.contexts.contexts("demo", "note", "", 2, LOCAL)
    assert ([each.name for each in first.items], first.more) == (["note-0", "note-2"], True)
    rest = await stage.contexts.contexts("demo", "note", "note-2", 2, LOCAL)
    assert ([each.name for each in rest.items], rest.more) == (["note-4"], False)
    assert not (await stage.contexts.contexts("side", "", "", 0, LOCAL)).items
    found, after = [], b""
    while True:
        page = stage.contexts.all_documents(after)
        found += [each.guid for each in page.items]
        if not page.more:
            break
        after = found[-1]
    assert found == [bytes([number] * 16) for number in range(5)]


async def test_what_is_not_there(stage: Stage) -> None:
    with pytest.raises(NotFound) as missing:
        await stage.contexts.describe("demo", "plan", LOCAL)
    assert missing.value.reason is Reason.CONTEXT_NOT_FOUND
    assert stage.contexts.info_by_guid(GUID) is None
    with pytest.raises(NotFound):
        await stage.contexts.versions("demo", "plan", "", 0, LOCAL)
    with pytest.raises(Invalid):
        await stage.contexts.describe("demo", "no spaces", LOCAL)
    with pytest.raises(NotFound):
        await stage.contexts.delete("demo", "plan", GUID, actor="me", timeout_s=TIMEOUT_S)
