"""Who killed the worker: suspicion, trial, conviction. Pure: it is told what happened, and says what is to be done.

    a death with many requests under way -> their documents are under suspicion
    a document under suspicion           -> it is read first, alone (a probe); then its requests go one by one
    a death with one request under way   -> that was it, if it was tried alone: its update is refused from then on
    a document whose probe kills         -> refused as CONTEXT_DAMAGED until it is forgotten
    enough that went well                -> the document is cleared

Rules of this file:
- Nobody is convicted for one death among others, nor for one that another may have caused, unless it happens again.
- Everything is bounded: what is pushed out was suspected longest ago, and will be suspected again.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tallystick.errors import Invalid, Reason, TallystickError, Unavailable
from tallystick.peer.v1.peer_pb2 import ContextId
from tallystick.worker.v1.worker_pb2 import Request
from tallystick_node.contexts.worker.identify import StagedSums, document_of, is_harmless, sum_of
from tallystick_node.contexts.worker.limits import (
    CAREFUL_REQUESTS,
    CONVICTED,
    QUESTION_S,
    SET_ASIDE_OF_DOCUMENT,
    STRIKES,
    SUSPECTS,
)

V = TypeVar("V")


class Care(enum.Enum):
    """How a request is to be sent."""

    NONE = enum.auto()
    PROBE_FIRST = enum.auto()
    ALONE = enum.auto()


class Kind(enum.Enum):
    """Of what was convicted."""

    UPDATE = "update"
    QUESTION = "question"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Conviction:
    """What killed the worker, as far as it can be known."""

    kind: Kind
    sum: bytes
    document: ContextId
    request: Request


@dataclass(slots=True)
class _Suspicion:
    document: ContextId
    left: int
    needs_probe: bool = True
    strikes: int = 0


class Suspects:
    """See the module.

    Args:
        clock: seconds that never go back.
        updates: sums of updates convicted in former lives of the node.
    """

    def __init__(self, clock: Callable[[], float], updates: Iterable[bytes] = ()) -> None:
        self._clock = clock
        self.staged = StagedSums()
        self._suspicions: OrderedDict[bytes, _Suspicion] = OrderedDict()
        self._updates: OrderedDict[bytes, None] = OrderedDict.fromkeys(updates)
        self._questions: OrderedDict[bytes, float] = OrderedDict()
        self._documents: OrderedDict[bytes, float | None] = OrderedDict()
        """Until when they are refused; None: until they are forgotten."""
        self._set_aside: Counter[bytes] = Counter()

    def refusal(self, request: Request) -> TallystickError | None:
        """Why it must not be sent, or None."""
        document = document_of(request)
        if document is not None and self._is_refused(document, request):
            return Unavailable("reading this document ended the worker", reason=Reason.CONTEXT_DAMAGED)
        is_merge = request.WhichOneof("body") == "merge"
        if not (self._updates if is_merge else self._questions) or is_harmless(request):
            return None
        found = sum_of(request, self.staged)
        if is_merge:
            if found in self._updates:
                return Invalid(
                    "merging this update ended the worker; it was set aside",
                    reason=Reason.MALFORMED_UPDATE,
                    metadata={"sha256": found.hex()},
                )
        elif (until_s := self._questions.get(found)) is not None:
            if self._clock() < until_s:
                return Unavailable("answering this ended the worker", reason=Reason.CONTEXT_DAMAGED)
            del self._questions[found]
        return None

    def care(self, request: Request) -> Care:
        """How it is to be sent."""
        suspicion = self._suspicion_of(request)
        if suspicion is None or request.HasField("forget"):
            return Care.NONE
        return Care.PROBE_FIRST if suspicion.needs_probe else Care.ALONE

    def probe_of(self, request: Request) -> Request:
        """What is to be asked first: it makes the worker read the document."""
        probe = Request()
        suspicion = self._suspicion_of(request)
        if suspicion is not None:
            probe.diff.id.CopyFrom(suspicion.document)
        return probe

    def sent(self, request: Request) -> None:
        """It is on its way."""
        if request.HasField("stage"):
            self.staged.note(request.stage)
        elif request.HasField("forget"):
            self._documents.pop(request.forget.guid, None)
            self._set_aside.pop(request.forget.guid, None)

    def went_well(self, request: Request, *, is_probe: bool = False) -> None:
        """It was answered, whatever the answer."""
        suspicion = self._suspicion_of(request)
        if suspicion is None:
            return
        suspicion.strikes = 0
        if request.HasField("forget"):
            del self._suspicions[suspicion.document.guid]
            return
        if is_probe:
            suspicion.needs_probe = False
            return
        suspicion.left -= 1
        if suspicion.left <= 0:
            del self._suspicions[suspicion.document.guid]

    def died(
        self, under_way: Sequence[Request], *, was_alone: bool, is_probe: bool, is_own_doing: bool
    ) -> Conviction | None:
        """The worker died while these were the first that it had not answered; who was convicted of it, if anyone.

        Args:
            was_alone: the one request was under trial.
            is_probe: it was a probe.
            is_own_doing: nobody but the worker itself can have caused its death.
        """
        suspicion = self._suspicion_of(under_way[0]) if was_alone and under_way else None
        conviction = None
        if suspicion is not None:
            suspicion.strikes += 1
            if is_own_doing or suspicion.strikes >= STRIKES:
                suspicion.strikes = 0
                conviction = self._convict(under_way[0], suspicion, is_probe=is_probe)
        else:
            self._suspect(under_way)
        self.staged.clear()
        return conviction

    def _is_refused(self, document: ContextId, request: Request) -> bool:
        if document.guid not in self._documents or request.HasField("forget"):
            return False
        until_s = self._documents[document.guid]
        if until_s is not None and self._clock() >= until_s:
            del self._documents[document.guid]
            return False
        return True

    def _suspicion_of(self, request: Request) -> _Suspicion | None:
        if not self._suspicions:
            return None
        document = document_of(request)
        return None if document is None else self._suspicions.get(document.guid)

    def _suspect(self, under_way: Sequence[Request]) -> None:
        for request in under_way:
            document = document_of(request)
            if document is None or request.HasField("forget"):
                continue
            suspicion = self._suspicions.get(document.guid)
            if suspicion is None:
                suspicion = _Suspicion(document, CAREFUL_REQUESTS)
                _put(self._suspicions, document.guid, suspicion, SUSPECTS)
            suspicion.left += 1
            suspicion.needs_probe = True
            if document.epoch:
                suspicion.document = document

    def _convict(self, request: Request, suspicion: _Suspicion, *, is_probe: bool) -> Conviction:
        document = suspicion.document
        if is_probe:
            _put(self._documents, document.guid, None, CONVICTED)
            self._suspicions.pop(document.guid, None)
            return Conviction(Kind.DOCUMENT, b"", document, request)
        found = sum_of(request, self.staged)
        if not request.HasField("merge"):
            _put(self._questions, found, self._clock() + QUESTION_S, CONVICTED)
            return Conviction(Kind.QUESTION, found, document, request)
        _put(self._updates, found, None, CONVICTED)
        suspicion.needs_probe = True  # it is read again, as it was left
        self._set_aside[document.guid] += 1
        if self._set_aside[document.guid] >= SET_ASIDE_OF_DOCUMENT:
            _put(self._documents, document.guid, self._clock() + QUESTION_S, CONVICTED)
            del self._set_aside[document.guid]
        if len(self._set_aside) > CONVICTED:
            self._set_aside.clear()
        return Conviction(Kind.UPDATE, found, document, request)


def _put(table: OrderedDict[bytes, V], key: bytes, value: V, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
