"""The layout of a document is the order that pycrdt reads it in."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from tallystick_node.contexts.updates.ids import Id
from tallystick_node.contexts.updates.layout import Layout


class Writer:
    """Writes list elements and keys whose values name their ids."""

    def __init__(self, writer: int) -> None:
        self.writer = writer
        self.clock = 0
        self.doc: Doc[Any] = Doc(client_id=writer)
        self.list: Array[Any] = self.doc.get("l", type=Array)
        self.map: Map[Any] = self.doc.get("m", type=Map)

    def insert(self, index: int, count: int) -> None:
        self.list[index:index] = [f"{self.writer}.{self.clock + n}" for n in range(count)]
        self.clock += count

    def set(self, key: str) -> None:
        self.map[key] = f"{self.writer}.{self.clock}"
        self.clock += 1


def name(at: Id) -> str:
    return f"{at.writer}.{at.clock}"


@pytest.mark.parametrize("seed", range(12))
def test_lists_and_keys_of_writers_that_meet_now_and_then(seed: int) -> None:
    rng = random.Random(seed)
    writers = [Writer(number) for number in (1, 7, 3)]
    for _ in range(60):
        one = rng.choice(writers)
        turn = rng.random()
        if turn < 0.45:
            one.insert(rng.randint(0, len(one.list)), rng.randint(1, 4))
        elif turn < 0.6 and len(one.list) > 2:
            at = rng.randrange(len(one.list) - 1)
            del one.list[at : at + 2]
        elif turn < 0.8:
            one.set(rng.choice("ab"))
        elif turn < 0.85 and "a" in one.map:
            del one.map["a"]
        else:
            other = rng.choice(writers)
            one.doc.apply_update(other.doc.get_update())
    for one in writers:
        for other in writers:
            one.doc.apply_update(other.doc.get_update())
    doc = writers[0]
    layout = Layout(doc.doc.get_update())
    ids = [name(Id(item.writer, item.clock + n)) for item in layout.sequence("l") for n in range(item.length)]
    assert ids == list(doc.list)
    for key in "ab":
        item = layout.of_key("m", key)
        assert (None if item is None else name(item.id)) == doc.map.get(key, None)
    for index, value in enumerate(doc.list):
        writer, clock = value.split(".")
        assert layout.path(Id(int(writer), int(clock))) == ["l", str(index)]


def test_paths() -> None:
    doc: Doc[Any] = Doc(client_id=5)
    root = doc.get("m", type=Map)
    root["a/b"] = Map({"list": Array(["x", Map({"k": 1}), "y"])})
    root["t"] = Text("hello")
    layout = Layout(doc.get_update())
    found = {"/".join(path) for clock in range(20) if (path := layout.path(Id(5, clock))) is not None}
    assert found == {"m/a/b", "m/a/b/list", "m/a/b/list/0", "m/a/b/list/1", "m/a/b/list/1/k", "m/a/b/list/2", "m/t"}
    assert layout.path(Id(6, 0)) is None
    del root["a/b"]
    gone = Layout(doc.get_update())
    assert gone.path(Id(5, 0)) == ["m", "a/b"]
    assert gone.of_key("m", "a/b") is None
