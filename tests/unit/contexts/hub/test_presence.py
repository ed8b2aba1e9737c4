"""Presence: who is here, until its stream ends or it is not heard of any more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tallystick.errors import Invalid, QuotaExceeded, Reason
from tallystick.v1.context_pb2 import PresenceState
from tallystick_node.contexts.hub import presence as module
from tallystick_node.contexts.hub.presence import Presence
from tallystick_node.contexts.limits import PRESENCE_BYTES, PRESENCE_TTL_S
from tallystick_node.web.hub_room import HubRoom
from tallystick_node.web.messages import AwarenessState
from tests.unit.contexts.hub.kit import GUID, record, stage


class Room:
    """Presence with a clock, and what its listeners heard: (writer, what it says)."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.presence = Presence(lambda: self.now_s)
        self.heard: list[tuple[int, bytes]] = []
        self.relayed: list[tuple[int, bytes]] = []
        self.deletions = 0
        self.presence.listen(GUID, self._hear, self._deleted)
        self.presence.on_local(self._relay)

    def _hear(self, guid: bytes, states: Sequence[PresenceState]) -> None:
        assert guid == GUID
        self.heard += [(state.writer, state.state) for state in states]

    def _relay(self, _guid: bytes, states: Sequence[PresenceState]) -> None:
        self.relayed += [(state.writer, state.state) for state in states]

    def _deleted(self) -> None:
        self.deletions += 1

    def say(self, writer: int, clock: int, state: bytes = b"{}", *, is_local: bool = True) -> None:
        self.presence.set(GUID, [PresenceState(writer=writer, clock=clock, state=state)], is_local=is_local)

    def here(self) -> list[int]:
        return [state.writer for state in self.presence.states(GUID)]


def test_a_newer_clock_replaces_an_older_does_not() -> None:
    room = Room()
    room.say(7, 2, b'{"n":2}')
    room.say(7, 1, b'{"n":1}')
    room.say(7, 3, b'{"n":3}')
    assert room.heard == [(7, b'{"n":2}'), (7, b'{"n":3}')]
    assert room.here() == [7]


def test_gone_is_an_empty_state_of_the_same_clock_or_a_newer() -> None:
    room = Room()
    room.say(7, 2)
    room.say(7, 1, b"")
    assert room.here() == [7]
    room.say(7, 2, b"")
    assert room.here() == []
    assert room.heard[-1] == (7, b"")


def test_a_stream_that_ends_takes_its_state_along() -> None:
    room = Room()
    room.say(7, 2)
    room.say(8, 1, is_local=False)
    room.presence.leave(GUID, 7)
    room.presence.leave(GUID, 8)  # not this node's to say
    assert room.here() == [8]
    assert room.relayed == [(7, b"{}"), (7, b"")]


def test_a_stream_whose_state_another_took_over_takes_nothing_along() -> None:
    room, old, new = Room(), object(), object()
    state = PresenceState(writer=7, clock=2, state=b"{}")
    for stream in (old, new):
        room.presence.set(GUID, [state], is_local=True, owner=stream)
    room.presence.leave(GUID, 7, old)
    assert room.here() == [7]
    room.presence.leave(GUID, 7, new)
    assert room.here() == []


def test_who_is_not_heard_of_is_gone_who_repeats_stays() -> None:
    room = Room()
    room.say(7, 1)
    room.say(8, 1, is_local=False)
    room.now_s = PRESENCE_TTL_S * 0.9
    room.say(7, 1)
    room.now_s = PRESENCE_TTL_S * 1.1
    room.presence.expire()
    assert room.here() == [7]
    assert room.heard[-1] == (8, b"")


def test_repetitions_go_to_other_nodes_not_to_those_who_look() -> None:
    room = Room()
    room.say(7, 1)
    room.say(7, 1)
    assert room.heard == [(7, b"{}")]
    assert room.relayed == [(7, b"{}")] * 2


def test_states_of_other_nodes_are_not_told_on() -> None:
    room = Room()
    room.say(8, 1, is_local=False)
    assert room.heard == [(8, b"{}")]
    assert room.relayed == []
    assert room.presence.local_states() == []


@pytest.mark.parametrize("size_bytes", [PRESENCE_BYTES + 1, PRESENCE_BYTES * 100])
def test_a_large_state_is_refused(size_bytes: int) -> None:
    room = Room()
    with pytest.raises(QuotaExceeded) as raised:
        room.say(7, 1, b"x" * size_bytes)
    assert raised.value.reason is Reason.PRESENCE_QUOTA
    assert room.here() == []


def test_a_state_of_nobody_is_refused() -> None:
    with pytest.raises(Invalid):
        Room().say(0, 1)


def test_states_and_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRESENCE_STATES", 2)
    monkeypatch.setattr(module, "PRESENCE_DOCUMENTS", 2)
    room = Room()
    room.say(1, 1)
    room.say(2, 1)
    with pytest.raises(QuotaExceeded):
        room.say(3, 1)
    room.presence.set(b"2" * 16, [PresenceState(writer=1, clock=1, state=b"{}")], is_local=True)
    with pytest.raises(QuotaExceeded):
        room.presence.set(b"3" * 16, [PresenceState(writer=1, clock=1, state=b"{}")], is_local=True)
    room.presence.leave(b"2" * 16, 1)  # nobody is there any more: there is room
    room.presence.set(b"3" * 16, [PresenceState(writer=1, clock=1, state=b"{}")], is_local=True)


def test_who_looks_hears_of_the_end() -> None:
    room = Room()
    room.say(7, 1)
    room.presence.forget(GUID)
    assert room.deletions == 1
    assert room.here() == []


async def test_a_yjs_client_that_came_back_stays_when_its_old_connection_ends() -> None:
    async with stage() as on:
        old, new = (HubRoom(record(), on.merged, on.hub, "ann", lambda: 5) for _ in range(2))
        old.present([AwarenessState(7, 1, b"{}")])
        on.now_s += PRESENCE_TTL_S + 1
        on.hub.presence.expire()  # nothing was heard of it
        new.present([AwarenessState(7, 1, b"{}")])
        old.close()
        assert [state.writer for state in on.hub.presence.states(GUID)] == [7]
        new.close()
        assert on.hub.presence.states(GUID) == []
