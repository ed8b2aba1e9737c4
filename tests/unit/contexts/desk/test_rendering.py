"""A document as JSON: canonical, and never by a way that pycrdt does not come back from."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pycrdt import Array, Map, XmlElement, XmlFragment, XmlText

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.crdt import Crdt
from tallystick_node.contexts.desk.rendering import render
from tallystick_node.contexts.desk.unreadable import has_characters_in_lists
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id
from tests.unit.contexts.desk.test_epochs import rebuild

HANGS_AFTER_S = 60
"""Far more than it takes."""


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def mark(replica: Replica, root: str, kind: str) -> None:
    replica.map("tallystick")[f"roots/{root}"] = kind


def characters_in_a_list() -> bytes:
    """A nested list with a character beyond the first 65,536: the text of another update, its parent exchanged."""
    replica = Replica()
    replica.map()["deep"] = Array(["\U0001f600"])
    update = replica.doc.get_update()
    any_of_one = b"\x08\x00" + b"\xe4\x80\x80\x80\x10\x00" + b"\x01\x77\x04"
    assert update.count(any_of_one) == 1
    text = b"\x04\x00" + b"\xe4\x80\x80\x80\x10\x00" + b"\x04"
    # One value counts one, the character two.
    return update.replace(any_of_one, text)


def test_equal_documents_have_equal_bytes(asker: Asker) -> None:
    one, two = Replica(), Replica(FIRST + 1)
    updates = [one.set(key, {"b": 1, "a": [1.0, 2.5, b"\x01", None]}) for key in "cab"] + [two.set("d", float("inf"))]
    asker.merge(updates[-1], writer=two.writer)
    for update in updates[:3]:
        asker.merge(update)
    other = Crdt()
    other.apply_all(updates)
    assert render(other) == asker.json()
    value = b'{"a":[1,2.5,{"$bytes":"AQ=="},null],"b":1}'
    assert asker.json() == b'{"tasks":{"a":%b,"b":%b,"c":%b,"d":null}}' % (value, value, value)


def test_kinds_are_told_by_content(asker: Asker) -> None:
    replica = Replica()
    with replica.doc.transaction():
        replica.text().insert(0, "hé\U0001f600")
        replica.text().format(0, 1, {"bold": True})
        replica.sequence().extend(["a", "b"])
        replica.map()["k"] = Map({"list": Array([1])})
        xml = replica.doc.get("page", type=XmlFragment)
        xml.children.append(XmlElement("p", {"a": "b"}, contents=[XmlText("hi")]))
        replica.sequence("none")
    asker.merge(replica.doc.get_update())
    expected = '{"essay":"hé\U0001f600","notes":["a","b"],"page":"<p a=\\"b\\">hi</p>","tasks":{"k":{"list":[1]}}}'
    assert asker.json().decode() == expected


def test_marked_roots_are_there_when_they_are_empty(asker: Asker) -> None:
    replica = Replica()
    for root, kind in (("a", "list"), ("b", "text"), ("c", "counter"), ("d", "nonsense")):
        mark(replica, root, kind)
    asker.merge(replica.doc.get_update())
    assert asker.json() == b'{"a":[],"b":"","c":{}}'


def _render_text_said_to_be_a_list(folder: str, answers: multiprocessing.Queue[bytes]) -> None:
    asker = Asker(Path(folder))
    replica = Replica()
    mark(replica, "essay", "list")
    replica.text().insert(0, "ab\U0001f600cd")
    asker.merge(replica.doc.get_update())
    answers.put(asker.json())


def _render_characters_in_a_list(folder: str, answers: multiprocessing.Queue[bytes]) -> None:
    asker = Asker(Path(folder))
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.merge(characters_in_a_list())
    asker.merge(characters_in_a_list(), origin=worker_pb2.ORIGIN_PEER)  # what another node has merged
    answers.put(asker.json())
    with pytest.raises(Refused, match="INVALID_VALUE"):
        rebuild(asker)
    answers.put(b"")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (_render_text_said_to_be_a_list, '{"essay":"ab\U0001f600cd"}'),
        (_render_characters_in_a_list, '{"tasks":{"deep":{"$unreadable":"characters in a list"}}}'),
    ],
)
def test_characters_in_a_list_hang_nobody(tmp_path: Path, job: object, expected: str) -> None:
    """In a process of its own: pycrdt would not come back, nor let anyone else run."""
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    process = spawn.Process(target=job, args=(str(tmp_path), answers))  # type: ignore[arg-type]
    process.start()
    try:
        assert answers.get(timeout=HANGS_AFTER_S).decode() == expected
        process.join(HANGS_AFTER_S)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


def test_only_lists_inside_others_with_such_characters_are_unreadable() -> None:
    replica = Replica()
    replica.text().insert(0, "\U0001f600")
    replica.map()["deep"] = Array(["\U0001f600"])
    assert not has_characters_in_lists(replica.doc.get_update())
    assert has_characters_in_lists(characters_in_a_list())


def test_as_it_was(asker: Asker) -> None:
    replica = Replica()
    for number in range(5):
        asker.merge(replica.set("n", number), now=1000 + 10 * number)
    assert asker.json(at=context_pb2.At(number=2)) == b'{"tasks":{"n":1}}'
    assert asker.json(at=context_pb2.At(time_unix_ms=1025)) == b'{"tasks":{"n":2}}'
    assert asker.json(at=context_pb2.At(time_unix_ms=1)) == b"{}"
    with pytest.raises(Refused, match="SEQ_NOT_FOUND"):
        asker.json(at=context_pb2.At(number=6))
    diff = worker_pb2.Diff(id=context_id(), at=context_pb2.At(number=1))
    other = Replica(FIRST + 1)
    other.hear(asker.rest(asker.ask(worker_pb2.Request(diff=diff)).data))
    assert other.map().to_py() == {"n": 0}


def test_the_content_of_an_update(asker: Asker) -> None:
    replica = Replica()
    replica.set("a", 1)
    json = worker_pb2.AsJson(content=replica.doc.get_update())
    assert asker.ask(worker_pb2.Request(as_json=json)).data.data == b'{"tasks":{"a":1}}'
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.ask(worker_pb2.Request(as_json=worker_pb2.AsJson(content=replica.set("b", 1))))
