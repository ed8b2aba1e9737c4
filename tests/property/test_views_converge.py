"""Replicas with views of all kinds, edited and merged at random: each shows exactly what it has heard of, at each step.

So nothing is lost, nothing is invented, removals take only what was seen, and whoever heard the same shows the same.
One machine for each pair of kinds, since what goes wrong needs many edits of one root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tallystick.contexts.views import Views
from tests.property.views_model import History
from tests.unit.contexts.views.kit import Peer

T = TypeVar("T")

PEERS = st.integers(0, 2)
SHARES = st.floats(0, 1)
ELEMENTS = st.sampled_from([1, True])
TASKS = st.sampled_from(["s", "t"])
AMOUNTS = st.integers(-1000, 1000)


def _letter(number: int) -> str:
    """Each number has a letter of its own: ASCII at first, then of two, three and four bytes."""
    return chr(0x21 + number) if number < 60 else chr((0xA1, 0x4E00, 0x1F300)[number % 3] + number)


def _place(share: float, length: int) -> int:
    return round(share * length)


class Replicas(RuleBasedStateMachine):
    """Three replicas of one document, which merge."""

    def __init__(self) -> None:
        super().__init__()
        self.peers = [Peer(number) for number in range(3)]
        self.known: list[dict[str, set[int]]] = [{} for _ in self.peers]
        self.touched: set[int] = set()
        self.keys = 0

    @initialize(writers=st.permutations(range(3)))
    def order_writers(self, writers: list[int]) -> None:
        """The writer id decides between two at once: no order of them may matter for what is promised."""
        self.peers = [Peer(number) for number in writers]

    @rule(one=PEERS, other=PEERS)
    def merge(self, one: int, other: int) -> None:
        self.peers[one].take_from(self.peers[other])
        for root, operations in self.known[other].items():
            self.known_of(one, root).update(operations)
        self.touched.add(one)

    @rule(peer=PEERS)
    def become_another(self, peer: int) -> None:
        self.peers[peer].become_another()
        self.touched.add(peer)

    @invariant()
    def shows_what_it_knows(self) -> None:
        for peer in self.touched:
            self.check_peer(peer, self.peers[peer].views)
        self.touched.clear()

    def teardown(self) -> None:
        for _ in range(2):
            for one in range(3):
                for other in range(3):
                    self.merge(one, other)
        self.shows_what_it_knows()
        documents = [peer.views.to_json() for peer in self.peers]
        assert documents[0] == documents[1] == documents[2]
        for peer in self.peers:
            peer.close()

    def check_peer(self, peer: int, views: Views) -> None:
        raise NotImplementedError

    def did(self, peer: int, root: str, operation: int) -> None:
        self.known_of(peer, root).add(operation)
        self.touched.add(peer)

    def known_of(self, peer: int, root: str) -> set[int]:
        return self.known[peer].setdefault(root, set())

    def new_key(self) -> int:
        self.keys += 1
        return self.keys


class CountersAndSets(Replicas):
    """No addition is lost or counted twice; adding wins."""

    def __init__(self) -> None:
        super().__init__()
        self.counter: History[int] = History()
        self.set: History[int | bool] = History()

    @rule(peer=PEERS, amount=AMOUNTS)
    def count(self, peer: int, amount: int) -> None:
        self.peers[peer].views.counter("counter").add(amount)
        self.did(peer, "counter", self.counter.record([amount]))

    @rule(peer=PEERS, element=ELEMENTS)
    def add(self, peer: int, element: int | bool) -> None:
        self.peers[peer].views.set("set").add(element)
        self.did(peer, "set", self.set.record([element]))

    @rule(peer=PEERS, element=ELEMENTS)
    def discard(self, peer: int, element: int | bool) -> None:
        self.peers[peer].views.set("set").discard(element)
        shown = self.set.shown(self.known_of(peer, "set"))
        gone = [number for number, item in shown.items() if item is element]
        self.did(peer, "set", self.set.record(removed=gone))

    def check_peer(self, peer: int, views: Views) -> None:
        amounts = self.counter.shown(self.known_of(peer, "counter"))
        assert views.counter("counter").value == sum(amounts.values())
        elements = self.set.shown(self.known_of(peer, "set"))
        assert {repr(element) for element in views.set("set")} == {repr(element) for element in elements.values()}


class Registers(Replicas):
    """What was not seen is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.register: History[int] = History()

    @rule(peer=PEERS, ahead_ms=st.integers(-50, 50))
    def pass_time(self, peer: int, ahead_ms: int) -> None:
        self.peers[peer].now_ms += ahead_ms

    @rule(peer=PEERS)
    def set_value(self, peer: int) -> None:
        value = self.new_key()
        self.peers[peer].views.register("register").set(value)
        seen = self.register.shown(self.known_of(peer, "register"))
        self.did(peer, "register", self.register.record([value], seen))
        assert self.peers[peer].views.register("register").value == value

    def check_peer(self, peer: int, views: Views) -> None:
        values = self.register.shown(self.known_of(peer, "register")).values()
        register = views.register("register")
        assert sorted(map(repr, register.values())) == sorted(map(repr, values))
        assert register.is_conflicted == (len(values) > 1)


class ListsAndTexts(Replicas):
    """What is inserted together stays in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.list: History[int] = History()
        self.text: History[str] = History()

    @rule(peer=PEERS, at=SHARES, count=st.integers(1, 4))
    def insert_items(self, peer: int, at: float, count: int) -> None:
        items = self.peers[peer].views.list("list")
        new = [self.new_key() for _ in range(count)]
        place = _place(at, len(items))
        items[place:place] = new
        self.did(peer, "list", self.list.record(new))

    @rule(peer=PEERS, start=SHARES, stop=SHARES)
    def delete_items(self, peer: int, start: float, stop: float) -> None:
        items = self.peers[peer].views.list("list")
        first, last = sorted((_place(start, len(items)), _place(stop, len(items))))
        gone = items[first:last]
        del items[first:last]
        shown = self.list.shown(self.known_of(peer, "list"))
        self.did(peer, "list", self.list.record(removed=[key for key, item in shown.items() if item in gone]))

    @rule(peer=PEERS, start=SHARES, stop=SHARES, count=st.integers(0, 4), is_set=st.booleans())
    def edit_text(self, peer: int, start: float, stop: float, count: int, is_set: bool) -> None:
        text = self.peers[peer].views.text("text")
        before = str(text)
        first, last = sorted((_place(start, len(before)), _place(stop, len(before))))
        new = "".join(map(_letter, range(len(self.text.items), len(self.text.items) + count)))
        if is_set:
            text.set(before[:first] + new + before[last:])
        else:
            text.replace(first, last, new)
        assert str(text) == before[:first] + new + before[last:]
        shown = self.text.shown(self.known_of(peer, "text"))
        gone = [number for number, letter in shown.items() if letter in before[first:last]]
        self.did(peer, "text", self.text.record(new, gone))

    def check_peer(self, peer: int, views: Views) -> None:
        self._check_order(self.known_of(peer, "list"), views.list("list").items(), self.list)
        self._check_order(self.known_of(peer, "text"), str(views.text("text")), self.text)

    def _check_order(self, known: set[int], found: Sequence[object], history: History[T]) -> None:
        """All that is there, once; and what was inserted together, in its order."""
        assert Counter(found) == Counter(history.shown(known).values())
        places = {item: place for place, item in enumerate(found)}
        for operation in known:
            run = [places[item] for item in history.operations[operation].added if item in places]
            assert run == sorted(run)


class MapsAndBoards(Replicas):
    """Keys are kept apart; a key that all set has one of the values that were set."""

    def __init__(self) -> None:
        super().__init__()
        self.map: History[str] = History()
        self.board: History[str] = History()
        self.common: list[int] = []

    @rule(peer=PEERS)
    def set_own_key(self, peer: int) -> None:
        key = self.new_key()
        self.peers[peer].views.map("map")[f"k{key}"] = key
        self.did(peer, "map", self.map.record([f"k{key}"]))

    @rule(peer=PEERS, at=SHARES)
    def delete_key(self, peer: int, at: float) -> None:
        shown = self.map.shown(self.known_of(peer, "map"))
        for number in [*shown][_place(at, len(shown)) :][:1]:
            del self.peers[peer].views.map("map")[shown[number]]
            self.did(peer, "map", self.map.record(removed=[number]))

    @rule(peer=PEERS)
    def set_common_key(self, peer: int) -> None:
        value = self.new_key()
        self.common.append(value)
        self.peers[peer].views.map("map")["common"] = value
        assert self.peers[peer].views.map("map")["common"] == value
        self.touched.add(peer)

    @rule(peer=PEERS, task=TASKS)
    def set_field(self, peer: int, task: str) -> None:
        key = self.new_key()
        self.peers[peer].views.board("board").set(task, **{f"f{key}": key})
        self.did(peer, "board", self.board.record([f"{task}/f{key}"]))

    @rule(peer=PEERS, task=TASKS)
    def remove_task(self, peer: int, task: str) -> None:
        self.peers[peer].views.board("board").remove(task)
        shown = self.board.shown(self.known_of(peer, "board"))
        gone = [number for number, item in shown.items() if item.startswith(f"{task}/")]
        self.did(peer, "board", self.board.record(removed=gone))

    def check_peer(self, peer: int, views: Views) -> None:
        found = views.map("map").to_dict()
        assert found.pop("common", None) in [None, *self.common]
        assert set(found) == set(self.map.shown(self.known_of(peer, "map")).values())
        fields = {f"{task}/{field}" for task, held in views.board("board").items() for field in held}
        assert fields == set(self.board.shown(self.known_of(peer, "board")).values())


SETTINGS = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCountersAndSets = CountersAndSets.TestCase
TestRegisters = Registers.TestCase
TestListsAndTexts = ListsAndTexts.TestCase
TestMapsAndBoards = MapsAndBoards.TestCase
TestCountersAndSets.settings = SETTINGS
TestRegisters.settings = SETTINGS
TestListsAndTexts.settings = SETTINGS
TestMapsAndBoards.settings = SETTINGS
