"""The schema of a context: what it may say, what is refused, what is flagged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Invalid
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.schemas.breaking import BREAKS, Breaks
from tallystick_node.contexts.schemas.declaring import read
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id, merge_request

SCHEMA = {
    "roots": {
        "tasks": {
            "type": "map",
            "schema": {
                "additionalProperties": {"$ref": "#/$defs/state"},
                "$defs": {"state": {"enum": ["open", "done"]}},
            },
        },
        "notes": {"type": "list", "schema": {"maxItems": 2, "uniqueItems": True}},
        "essay": {"type": "text"},
        "spent": {"type": "counter", "schema": {"maximum": 10}},
    },
    "strict": True,
}


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def merge(asker: Asker, update: bytes, schema: dict[str, Any] | None = None, **options: Any) -> list[str]:
    """Its flags."""
    request = merge_request(update, **options)
    request.merge.schema = json.dumps(SCHEMA if schema is None else schema).encode()
    return list(asker.ask(request).merged.edit.flags)


def test_what_an_edit_breaks_is_flagged_once(asker: Asker) -> None:
    replica = Replica()
    assert merge(asker, replica.set("t1", "open")) == []
    assert merge(asker, replica.set("t1", "lost")) == ["schema: /tasks/t1: 'lost' is not one of ['open', 'done']"]
    assert merge(asker, replica.set("t2", "done")) == []
    asker.reopen()
    assert merge(asker, replica.edit(lambda: replica.sequence().extend([1, 1]))) == [
        "schema: /notes: some elements are equal"
    ]
    assert merge(asker, replica.set("t2", 5)) == ["schema: /tasks/t2: 5 is not one of ['open', 'done']"]
    assert merge(asker, replica.set(str(FIRST), 7, name="spent")) == []
    assert merge(asker, replica.set("9", 7, name="spent")) == ["schema: /spent: 14 is greater than the maximum of 10"]
    assert merge(asker, replica.set("t1", "open")) == []
    stored = asker.ask(worker_pb2.Request(history=worker_pb2.History(id=request_id(), after_number=1, limit=1))).history
    assert list(stored.edits[0].flags) == ["schema: /tasks/t1: 'lost' is not one of ['open', 'done']"]


def request_id() -> Any:
    return merge_request(b"").merge.id


def test_what_clashes_is_refused_to_clients_alone(asker: Asker) -> None:
    makers = [
        lambda replica: replica.sequence("tasks").append(1),
        lambda replica: replica.map("notes").update({"k": 1}),
        lambda replica: replica.text("notes").insert(0, "x"),
        lambda replica: replica.sequence("essay").append(1),
        lambda replica: replica.map("other").update({"k": 1}),
    ]
    for make in makers:
        replica = Replica()
        update = replica.edit(lambda make=make, replica=replica: make(replica))  # type: ignore[misc]
        with pytest.raises(Refused, match="TYPE_CLASH"):
            merge(asker, update)
    assert asker.json() == b"{}"
    assert merge(asker, update, {**SCHEMA, "strict": False}) == []
    peer = Replica(FIRST + 1)
    merge(asker, peer.set("k", 1, name="third"), writer=FIRST + 1, origin=worker_pb2.ORIGIN_PEER)
    assert asker.json() == b'{"other":{"k":1},"third":{"k":1}}'


def test_what_is_carried_over_is_minded_as_any_edit(asker: Asker) -> None:
    replica, beyond = Replica(), Replica(FIRST + 1)
    merge(asker, replica.set("t1", "open"))
    base = asker.rest(asker.ask(worker_pb2.Request(rebuild=worker_pb2.Rebuild(id=request_id()))).data)
    merge(asker, beyond.set("t3", "gone"), {}, writer=FIRST + 1)
    start = worker_pb2.StartEpoch(id=context_id(epoch=2), base=base, writer=FIRST + 9, now_unix_ms=1)
    start.schema = json.dumps(SCHEMA).encode()
    done = asker.ask(worker_pb2.Request(start_epoch=start)).done
    assert list(done.merged.edit.flags) == ["schema: /tasks/t3: 'gone' is not one of ['open', 'done']"]


def test_what_comes_late_is_minded_as_any_edit(asker: Asker) -> None:
    replica, other = Replica(), Replica(FIRST + 1)
    merge(asker, replica.set("t1", "open"))
    base = asker.rest(asker.ask(worker_pb2.Request(rebuild=worker_pb2.Rebuild(id=request_id()))).data)
    start = worker_pb2.StartEpoch(id=context_id(epoch=2), base=base, writer=FIRST + 9, now_unix_ms=1)
    asker.ask(worker_pb2.Request(start_epoch=start))
    late = replica.set("t2", "lost")
    assert merge(asker, late, epoch=2, carry_over=True) == ["schema: /tasks/t2: 'lost' is not one of ['open', 'done']"]
    with pytest.raises(Refused, match="TYPE_CLASH"):
        merge(asker, other.set("k", 1, name="third"), writer=FIRST + 1, epoch=2, carry_over=True)


def test_what_is_restored_is_flagged_and_not_refused(asker: Asker) -> None:
    replica = Replica()
    assert merge(asker, replica.set("t1", "lost"), {}) == []
    merge(asker, replica.edit(lambda: replica.sequence("essay").append(1)), {})
    merge(asker, replica.set("t1", "open"), {})
    merge(asker, replica.edit(lambda: replica.sequence("essay").clear()), {})
    restore = worker_pb2.Restore(id=request_id(), writer=FIRST + 9, at=context_pb2.At(number=2), now_unix_ms=1)
    restore.edit.actor, restore.schema = "ada", json.dumps(SCHEMA).encode()
    done = asker.ask(worker_pb2.Request(restore=restore)).done
    assert done.changed
    assert (done.merged.edit.actor, list(done.merged.edit.flags)) == (
        "ada",
        ["schema: /tasks/t1: 'lost' is not one of ['open', 'done']"],
    )


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"roots": []},
        {"strict": 1},
        {"roots": {"a": {"type": "tree"}}},
        {"roots": {"a": {"schema": {"type": "nothing"}}}},
        {"roots": {"a": {"schema": {"$ref": "https://example.org/schema"}}}},
        {"roots": {"a": {"schema": {"items": {"pattern": "(a+)+$"}}}}},
        {"roots": {"a": {"schema": {"$defs": {"x": {"patternProperties": {"a": {}}}}}}}},
        {"roots": {"a": {"schema": {"unevaluatedItems": False}}}},
    ],
)
def test_what_is_no_schema(schema: object) -> None:
    with pytest.raises(Invalid, match="schema"):
        read(json.dumps(schema).encode())


def test_a_property_may_bear_any_name() -> None:
    text = {"roots": {"a": {"schema": {"properties": {"pattern": {"type": "string"}, "$id": {}}}}}}
    assert Breaks(read(json.dumps(text).encode())).of("a", {"pattern": 1}) == [
        "schema: /a/pattern: 1 is not of type 'string'"
    ]


def test_validation_is_bounded() -> None:
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    endless = {"roots": {"a": {"schema": {"$defs": {**doubling, "d40": {}}, "$ref": "#/$defs/d0"}}}}
    assert Breaks(read(json.dumps(endless).encode())).of("a", 1) == []
    circle = {"roots": {"a": {"schema": {"$ref": "#"}}}}
    assert Breaks(read(json.dumps(circle).encode())).of("a", 1) == []
    many = {"roots": {"a": {"schema": {"items": {"type": "string"}}}}}
    assert len(Breaks(read(json.dumps(many).encode())).of("a", list(range(100)))) == BREAKS
