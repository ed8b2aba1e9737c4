"""The desk: requests in, answers out, one commit between them.

Rules of this file:
- A batch is taken in order, stored with one commit, and answered after it. What is answered is on disk. Before that,
  what may be known without being on this disk is told early (`early.py`).
- What is wrong with a request is its answer, never an exception. Where the disk is full nothing of the batch counts:
  what would have written is answered so, the rest is answered anew.
- A database that SQLite cannot read is marked, so that whoever opens it next hears of it, and raised.
- Which request is answered by what is the table in `__init__`; what it lacks is answered INVALID_REQUEST.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Invalid, Overloaded, Reason, TallystickError
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import damage
from tallystick_node.contexts.desk.answers import WRITING, name_logs, refusal
from tallystick_node.contexts.desk.blaming import Blamer
from tallystick_node.contexts.desk.comparing import Comparer
from tallystick_node.contexts.desk.crdt import Crdt, CrdtFailed
from tallystick_node.contexts.desk.early import early_answers
from tallystick_node.contexts.desk.epochs import Epochs
from tallystick_node.contexts.desk.layouts import Layouts
from tallystick_node.contexts.desk.library import Library, damaged
from tallystick_node.contexts.desk.merging import ORIGINS, Merger
from tallystick_node.contexts.desk.overlapping import Overlaps
from tallystick_node.contexts.desk.parts import Incoming, Outgoing
from tallystick_node.contexts.desk.reading import Reader
from tallystick_node.contexts.desk.restoring import Restorer
from tallystick_node.contexts.desk.rows import RowDamaged
from tallystick_node.contexts.desk.upkeep import Upkeep
from tallystick_node.contexts.ids import ContextId
from tallystick_node.storage.errors import DatabaseDamaged, DiskFull

Answer = Callable[[worker_pb2.Request], worker_pb2.Response]
TellEarly = Callable[[Sequence[worker_pb2.Response]], None]

_DOCUMENTS_PAGE: Final = 1000


class Desk:
    """The documents of one folder; for one thread.

    Args:
        folder: where `contexts.db` is, or will be.
        clock: seconds that never go back: what is handed over in parts is kept for a time.
        loaded_bytes, loaded_documents: what is kept in memory.
        history_updates, history_bytes: what is kept of a document's history.
        random_bytes: gives so many.

    Raises:
        DatabaseDamaged: `damage.put_aside` makes room for an empty one.
        UnknownFormat: a newer version wrote it.
        DiskFull: there is no room to begin.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        loaded_bytes: int = limits.LOADED_BYTES,
        loaded_documents: int = limits.LOADED_DOCUMENTS,
        history_updates: int = limits.HISTORY_UPDATES,
        history_bytes: int = limits.HISTORY_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._folder = folder
        Crdt().close()  # with its first document pycrdt imports asyncio: better now than while a client waits
        self._rows, self._sums, self._log = damage.open_rows(folder, random_bytes)
        self._library = Library(self._rows, self._sums, loaded_bytes=loaded_bytes, loaded_documents=loaded_documents)
        self._outgoing = Outgoing(clock)
        self._incoming = Incoming(clock)
        self._merger = Merger(self._rows, self._library)
        self._reader = Reader(self._rows, self._library, self._outgoing)
        self._restorer = Restorer(self._rows, self._library, self._merger, self._reader)
        self._layouts = Layouts()
        self._blamer = Blamer(self._rows, self._library, self._layouts)
        self._overlaps = Overlaps(self._rows, self._library, self._layouts)
        self._comparer = Comparer(self._rows, self._library, self._sums)
        self._epochs = Epochs(self._rows, self._library, self._merger)
        self._upkeep = Upkeep(
            self._rows, self._library, self._merger, history_updates=history_updates, history_bytes=history_bytes
        )
        self._answers: Mapping[str, Answer] = {
            "merge": self._merge,
            "diff": lambda request: worker_pb2.Response(data=self._reader.diff(request.diff)),
            "part": lambda request: worker_pb2.Response(data=self._outgoing.part(request.part)),
            "stage": self._stage,
            "describe": lambda request: worker_pb2.Response(
                described=self._reader.describe(ContextId.of(request.describe.id))
            ),
            "ranges": lambda request: worker_pb2.Response(ranges=self._comparer.compare(request.ranges.compare)),
            "history": lambda request: worker_pb2.Response(history=self._reader.history(request.history)),
            "as_json": lambda request: worker_pb2.Response(data=self._reader.as_json(request.as_json)),
            "blame": lambda request: worker_pb2.Response(blame=self._blamer.blame(request.blame)),
            "overlaps": lambda request: worker_pb2.Response(overlaps=self._overlaps.listed(request.overlaps)),
            "restore": lambda request: worker_pb2.Response(done=self._restorer.restore(request.restore)),
            "forget": self._forget,
            "rebuild": lambda request: worker_pb2.Response(
                data=self._outgoing.first(self._epochs.rebuild(ContextId.of(request.rebuild.id)))
            ),
            "start_epoch": lambda request: worker_pb2.Response(done=self._epochs.start(request.start_epoch)),
            "list_documents": self._list_documents,
            "squash": self._squash,
            "stop": lambda _: worker_pb2.Response(done=worker_pb2.Done()),
        }

    @property
    def loaded(self) -> int:
        """How many documents are loaded."""
        return len(self._library)

    def close(self) -> None:
        """Closes the database."""
        self._rows.close()

    def handle(
        self, requests: Sequence[worker_pb2.Request], tell_early: TellEarly | None = None
    ) -> list[worker_pb2.Response]:
        """The answers, in the order of the requests.

        Args:
            tell_early: is told before the commit of what need not wait for it.

        Raises:
            DatabaseDamaged: nothing of the batch was answered; the desk is of no further use.
        """
        try:
            return self._handle(requests, tell_early)
        except DatabaseDamaged:
            damage.mark(self._folder)
            raise

    def _handle(
        self, requests: Sequence[worker_pb2.Request], tell_early: TellEarly | None
    ) -> list[worker_pb2.Response]:
        try:
            answers = [self._answer(request) for request in requests]
            self._add_deletes(requests, answers)
            self._tend()
            if tell_early is not None and (early := early_answers(requests, answers)):
                tell_early(early)
            self._rows.commit()
        except DiskFull:
            self._rows.roll_back()
            self._library.rolled_back()
            self._merger.overlaps.forget()
            self._merger.schemas.forget()
            self._layouts.forget()
            return [self._answer_unwritten(request) for request in requests]
        self._library.committed()
        self._shrink()
        return answers

    def _add_deletes(self, requests: Sequence[worker_pb2.Request], answers: Sequence[worker_pb2.Response]) -> None:
        """Says in the last answer of each document what is deleted in it: a cursor with that is good at any node."""
        last = {
            request.merge.id.guid: answer.merged
            for request, answer in zip(requests, answers, strict=True)
            if answer.HasField("merged") and not answer.merged.lacks_state_vector
        }
        for guid, merged in last.items():
            with contextlib.suppress(TallystickError, CrdtFailed):  # whoever reads the document hears of it
                loaded = self._library.find(guid)
                if loaded is not None and loaded.row.number == merged.number:
                    merged.deletes_digest = loaded.quick_deletes_digest()

    def _tend(self) -> None:
        with contextlib.suppress(TallystickError):  # damaged: that is the answer to whoever asks for it next
            self._upkeep.tend(self._library.touched())
        self._library.save()

    def _shrink(self) -> None:
        gone = self._library.shrink()
        try:
            self._rows.commit()
        except DiskFull:
            self._rows.roll_back()
            for guid, digest in gone.items():
                self._sums.changed(guid, digest)

    def _answer(self, request: worker_pb2.Request) -> worker_pb2.Response:
        body = request.WhichOneof("body") or ""
        answer = self._answers.get(body)
        if answer is None:
            response = refusal(Invalid(f"the desk has no answer to {body!r}", reason=Reason.INVALID_REQUEST))
        else:
            try:
                response = answer(request)
            except TallystickError as error:
                response = refusal(error)
            except (RowDamaged, CrdtFailed):
                response = refusal(self._damaged(request, body))
        name_logs(response, self._log)
        response.id = request.id
        return response

    def _damaged(self, request: worker_pb2.Request, body: str) -> TallystickError:
        """What a request met that could not read its document, which is loaded anew the next time."""
        named = getattr(request, body)
        guid: bytes = named.guid if hasattr(named, "guid") else named.id.guid if hasattr(named, "id") else b""
        self._library.drop(guid)
        return damaged(guid)

    def _answer_unwritten(self, request: worker_pb2.Request) -> worker_pb2.Response:
        if request.WhichOneof("body") not in WRITING:
            return self._answer(request)
        full = Overloaded("the disk of the node is full", reason=Reason.DISK_FULL)
        response = refusal(full)
        response.id = request.id
        return response

    # The answers that need more than a line.

    def _merge(self, request: worker_pb2.Request) -> worker_pb2.Response:
        merge = request.merge
        origin = ORIGINS.get(merge.origin)
        if origin is None:
            raise Invalid("an update comes from somewhere", reason=Reason.INVALID_REQUEST)
        update = self._incoming.take(merge.staged) if merge.HasField("staged") else merge.update
        loaded = self._library.open(ContextId.of(merge.id))
        if merge.carry_over:
            merged = self._epochs.carry_over(loaded, update, merge.edit, merge.now_unix_ms, merge.schema)
        else:
            merged = self._merger.merge(
                loaded, update, origin, merge.edit, merge.now_unix_ms,
                edits=merge.edits, web_writers=merge.web_writers, schema=merge.schema,
            )  # fmt: skip
        return worker_pb2.Response(merged=merged)

    def _stage(self, request: worker_pb2.Request) -> worker_pb2.Response:
        self._incoming.stage(request.stage)
        return worker_pb2.Response(done=worker_pb2.Done())

    def _forget(self, request: worker_pb2.Request) -> worker_pb2.Response:
        return worker_pb2.Response(done=worker_pb2.Done(changed=self._library.forget(request.forget.guid)))

    def _list_documents(self, request: worker_pb2.Request) -> worker_pb2.Response:
        asked = request.list_documents
        limit = min(asked.limit or _DOCUMENTS_PAGE, _DOCUMENTS_PAGE)
        ids = [document.to_proto() for document in self._rows.listed(asked.after_guid, limit)]
        listed = worker_pb2.DocumentList(ids=ids, documents=self._sums.documents, loaded=self.loaded)
        return worker_pb2.Response(documents=listed)

    def _squash(self, request: worker_pb2.Request) -> worker_pb2.Response:
        changed, more = self._upkeep.squash(request.squash.guid)
        return worker_pb2.Response(done=worker_pb2.Done(changed=changed, more=more))
