"""A desk in a folder, and writers that edit as clients do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pycrdt import Array, Doc, Map, Text

from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.desk import Desk
from tallystick_node.contexts.limits import FIRST_WRITER

FIRST = FIRST_WRITER + 100


def guid_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


PLAN = guid_of("plan")


class Replica:
    """A client's replica."""

    def __init__(self, writer: int = FIRST) -> None:
        self.writer = writer
        self.doc: Doc[Any] = Doc(client_id=writer)
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))

    def map(self, name: str = "tasks") -> Map[Any]:
        root: Map[Any] = self.doc.get(name, type=Map)
        return root

    def sequence(self, name: str = "notes") -> Array[Any]:
        root: Array[Any] = self.doc.get(name, type=Array)
        return root

    def text(self, name: str = "essay") -> Text:
        root: Text = self.doc.get(name, type=Text)
        return root

    def take(self) -> list[bytes]:
        taken, self.updates = self.updates, []
        return taken

    def edit(self, change: Callable[[], object]) -> bytes:
        """The one update of a change."""
        self.updates.clear()
        with self.doc.transaction():
            change()
        (update,) = self.take()
        return update

    def set(self, key: str, value: object, name: str = "tasks") -> bytes:
        tasks = self.map(name)

        def change() -> None:
            tasks[key] = value

        return self.edit(change)

    def hear(self, update: bytes) -> None:
        self.doc.apply_update(update)
        self.updates.clear()


def context_id(guid: bytes = PLAN, epoch: int = 1) -> peer_pb2.ContextId:
    return peer_pb2.ContextId(guid=guid, epoch=epoch)


def merge_request(
    update: bytes,
    *,
    writer: int = FIRST,
    guid: bytes = PLAN,
    epoch: int = 1,
    origin: worker_pb2.Origin.ValueType = worker_pb2.ORIGIN_CLIENT,
    actor: str = "ada",
    cause: str = "",
    now: int = 1000,
    edits: Iterable[context_pb2.Edit] = (),
    carry_over: bool = False,
) -> worker_pb2.Request:
    return worker_pb2.Request(
        merge=worker_pb2.Merge(
            id=context_id(guid, epoch),
            origin=origin,
            update=update,
            edit=context_pb2.Edit(writer=writer, actor=actor, cause=cause, time_unix_ms=now - 1, node_id="n1"),
            now_unix_ms=now,
            edits=edits,
            carry_over=carry_over,
        )
    )


class Refused(Exception):
    """An answer that is an error."""


class Asker:
    """Asks a desk one thing at a time."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options = options
        self.desk = Desk(folder, **options)

    def reopen(self) -> None:
        self.desk.close()
        self.desk = Desk(self.folder, **self.options)

    def ask(self, request: worker_pb2.Request) -> worker_pb2.Response:
        request.id = 7
        (response,) = self.desk.handle([request])
        assert response.id == 7
        if response.HasField("error"):
            raise Refused(response.error.reason)
        return response

    def merge(self, update: bytes, **options: Any) -> worker_pb2.Merged:
        return self.ask(merge_request(update, **options)).merged

    def whole(self, guid: bytes = PLAN, epoch: int = 1, state_vector: bytes = b"") -> bytes:
        data = self.ask(
            worker_pb2.Request(diff=worker_pb2.Diff(id=context_id(guid, epoch), state_vector=state_vector))
        ).data
        return self.rest(data)

    def rest(self, data: worker_pb2.Data) -> bytes:
        """All parts of an answer."""
        found, handle = data.data, data.handle
        while handle:
            part = self.ask(worker_pb2.Request(part=worker_pb2.Part(handle=handle, offset=len(found)))).data
            found, handle = found + part.data, part.handle
        assert len(found) == data.size_bytes
        return found

    def json(self, guid: bytes = PLAN, epoch: int = 1, at: context_pb2.At | None = None) -> bytes:
        request = worker_pb2.AsJson(id=context_id(guid, epoch))
        if at is not None:
            request.at.CopyFrom(at)
        return self.rest(self.ask(worker_pb2.Request(as_json=request)).data)

    def describe(self, guid: bytes = PLAN, epoch: int = 1) -> worker_pb2.Described:
        return self.ask(worker_pb2.Request(describe=worker_pb2.Describe(id=context_id(guid, epoch)))).described

    def compare(self, **request: Any) -> peer_pb2.CompareContextsReply:
        compare = peer_pb2.CompareContextsRequest(**request)
        return self.ask(worker_pb2.Request(ranges=worker_pb2.Ranges(compare=compare))).ranges
