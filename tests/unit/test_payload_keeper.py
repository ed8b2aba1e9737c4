"""The keeper of payloads, over a real database; consensus is a function that says yes, and time is a number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.errors import Unavailable
from tallystick_node.core.commands import Append, Command
from tallystick_node.core.payload_records import CollectPayloads, PutChunks, PutPayload
from tallystick_node.payloads import keeper as module
from tallystick_node.payloads.keeper import PayloadKeeper
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands
from tests.unit.database_support import START_MS, append, apply_each, set_op, target
from tests.unit.payload_script import manifest, payload_of

GRACE_S = 100.0


class Stage:
    """A node's keeper with what it stands on."""

    def __init__(self, path: Path) -> None:
        self.now_ms = START_MS
        self.leads = True
        self.is_cut_off = False
        self.proposed: list[CollectPayloads] = []
        self.database = Database.open(path)
        self.keeper = PayloadKeeper(
            self.database.reads.payloads, self._propose, lambda: self.leads, lambda: self.now_ms, GRACE_S
        )

    def decide(self, *commands: Command) -> None:
        apply_each(self.database, *commands)

    def put(self, name: str, namespace: str = "demo") -> None:
        words = tuple(word.encode() for word in name.split("+"))
        self.decide(PutChunks(self.now_ms, namespace, words), PutPayload(self.now_ms, namespace, manifest(name)))

    async def passes(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        await self.keeper.look()

    def left(self, namespace: str = "demo") -> int:
        return len(self.database.reads.payloads.payloads(namespace, b"", 100).items)

    async def _propose(self, data: bytes, _timeout_s: float) -> None:
        (command,) = decode_commands(data)
        assert isinstance(command, CollectPayloads)
        self.proposed.append(command)
        if self.is_cut_off:
            raise Unavailable("no majority")
        self.decide(command)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "state.db")
    yield made
    made.database.close()


def naming(name: str) -> Append:
    named = payload_of(f'{{"$payload":"<{name}>"}}')
    return Append(START_MS, target(), append([set_op("/x", named)]).mutations)


async def test_what_nothing_names_goes_after_its_time(stage: Stage) -> None:
    stage.put("one+two")
    stage.put("one")
    stage.decide(naming("one"))
    await stage.passes(GRACE_S)
    assert (stage.left(), stage.proposed) == (2, [])
    await stage.passes(1)
    assert stage.left() == 1
    assert [each.before_unix_ms for each in stage.proposed] == [START_MS + 1000]
    await stage.passes(10 * GRACE_S)
    assert (stage.left(), len(stage.proposed)) == (1, 1)


async def test_all_namespaces_are_looked_at(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMESPACES_PAGE", 2)
    names = [f"n{number}" for number in range(5)]
    for name in names:
        stage.put("one", name)
    await stage.passes(GRACE_S + 1)
    assert [stage.left(name) for name in names] == [0] * 5


async def test_a_look_proposes_so_many_and_goes_on_with_the_next(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLLECTED_AT_ONCE", 2)
    monkeypatch.setattr(module, "COLLECTIONS", 2)
    for name in ("a", "b", "c", "d", "e"):
        stage.put(name)
    await stage.passes(GRACE_S + 1)
    assert (stage.left(), len(stage.proposed)) == (1, 2)
    await stage.passes(1)
    assert (stage.left(), len(stage.proposed)) == (0, 3)


async def test_only_who_leads_proposes(stage: Stage) -> None:
    stage.put("one")
    stage.leads = False
    await stage.passes(GRACE_S + 1)
    assert (stage.left(), stage.proposed) == (1, [])
    stage.leads = True
    await stage.passes(1)
    assert stage.left() == 0


async def test_what_is_not_decided_is_proposed_again_with_the_next_look(stage: Stage) -> None:
    stage.put("one")
    stage.put("one", "other")
    stage.is_cut_off = True
    await stage.passes(GRACE_S + 1)
    assert (stage.left(), len(stage.proposed)) == (1, 1)
    stage.is_cut_off = False
    await stage.passes(1)
    assert (stage.left(), stage.left("other")) == (0, 0)
