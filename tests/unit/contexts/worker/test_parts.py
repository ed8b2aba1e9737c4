"""The parts of the worker that need no process: frames, suspicion, what is set aside."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tallystick.errors import Reason
from tallystick.worker.v1.worker_pb2 import Request
from tallystick_node.contexts.worker import aside, frames, suspects
from tallystick_node.contexts.worker.aside import Aside
from tallystick_node.contexts.worker.frames import Frames, FrameTooLarge, encode
from tallystick_node.contexts.worker.suspects import Care, Conviction, Kind, Suspects
from tests.unit.contexts.worker.kit import GUID, NOW_MS, diff, merge


def test_frames_come_whole_however_they_are_cut() -> None:
    requests = [merge(os.urandom(size)) for size in (0, 1, 5, 300_000, 17)]
    data = b"".join(encode(request) for request in requests)
    for cut in (1, 2, 3, 1000, 65_536, len(data)):
        reader, found = Frames(), []
        for begin in range(0, len(data), cut) if cut > 3 else [*range(0, 40, cut)]:
            reader.feed(data[begin : begin + cut])
            while (one := reader.take()) is not None:
                found.append(Request.FromString(one))
        assert found == requests[: len(found)]
        assert len(found) == len(requests) or cut <= 3
        assert not reader.has_next


def test_a_frame_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAME_BYTES", 10)
    with pytest.raises(FrameTooLarge):
        encode(merge(b"u" * 20))
    reader = Frames()
    reader.feed(b"\x00\x00\x00\x0b")
    with pytest.raises(FrameTooLarge):
        reader.take()


class Court:
    """Suspects under a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.suspects = Suspects(lambda: self.now_s)

    def die(self, *requests: Request, alone: bool = False, probe: bool = False, own: bool = True) -> Kind | None:
        """The worker dies over these; what was convicted."""
        found = self.suspects.died(requests, was_alone=alone, is_probe=probe, is_own_doing=own)
        return None if found is None else found.kind

    def refuses(self, request: Request) -> Reason | None:
        """Why it is refused."""
        found = self.suspects.refusal(request)
        return None if found is None else found.reason

    def clear_probe(self, request: Request) -> None:
        """The probe that is due goes well."""
        assert self.suspects.care(request) is Care.PROBE_FIRST
        self.suspects.went_well(self.suspects.probe_of(request), is_probe=True)


def test_one_death_convicts_nobody_but_asks_for_care() -> None:
    court = Court()
    assert court.die(merge(b"a"), merge(b"b", b"other")) is None
    assert court.refuses(merge(b"a")) is None
    assert court.suspects.care(merge(b"new")) is Care.PROBE_FIRST  # the document counts, not the update
    assert court.suspects.care(merge(b"a", b"third")) is Care.NONE


def test_enough_that_goes_well_clears_a_document() -> None:
    court = Court()
    court.die(merge(b"a"))
    court.clear_probe(merge(b"a"))
    asked = 0
    while court.suspects.care(merge(b"a")) is Care.ALONE:
        court.suspects.went_well(merge(b"a"))
        asked += 1
    assert asked == 9  # the one that was under way, and eight more
    assert court.suspects.care(merge(b"a")) is Care.NONE


def test_an_update_is_known_again_from_whom_it_comes_and_in_parts() -> None:
    court = Court()
    court.die(merge(b"poison"))
    court.clear_probe(merge(b"poison"))
    assert court.die(merge(b"poison"), alone=True) is Kind.UPDATE
    assert court.refuses(merge(b"poison", b"other")) is Reason.MALFORMED_UPDATE
    assert court.refuses(merge(b"other")) is None
    assert court.suspects.care(merge(b"other")) is Care.PROBE_FIRST  # the document may have been hurt
    for part in (b"poi", b"son"):
        stage = Request()
        stage.stage.handle = 5
        stage.stage.data = part
        court.suspects.sent(stage)
    staged = merge(b"")
    staged.merge.staged = 5
    assert court.refuses(staged) is Reason.MALFORMED_UPDATE
    staged.merge.staged = 6
    assert court.refuses(staged) is None


def test_a_question_is_refused_for_a_while() -> None:
    court = Court()
    court.die(diff())
    court.clear_probe(diff())
    assert court.die(diff(), alone=True) is Kind.QUESTION
    assert court.refuses(diff()) is Reason.CONTEXT_DAMAGED
    assert court.refuses(diff(state_vector=b"else")) is None
    court.now_s += 61.0
    assert court.refuses(diff()) is None


def test_a_question_is_known_again_whoever_asks_it_and_when() -> None:
    court, now, later = Court(), Request(), Request()
    for request, writer in ((now, 5), (later, 6)):
        request.restore.id.guid = GUID
        request.restore.content = b"content"
        request.restore.writer = writer
        request.restore.now_unix_ms = writer
        request.restore.edit.actor = str(writer)
    court.die(now)
    court.clear_probe(now)
    court.die(now, alone=True)
    assert court.refuses(later) is Reason.CONTEXT_DAMAGED


def test_deaths_that_another_may_have_caused_must_come_in_a_row() -> None:
    court = Court()
    court.die(merge(b"a"), own=False)
    court.clear_probe(merge(b"a"))
    assert court.die(merge(b"a"), alone=True, own=False) is None
    assert court.die(merge(b"a"), alone=True, own=False) is None
    court.suspects.went_well(merge(b"a"))
    assert court.die(merge(b"a"), alone=True, own=False) is None
    assert court.die(merge(b"a"), alone=True, own=False) is None
    assert court.die(merge(b"a"), alone=True, own=False) is Kind.UPDATE


def test_a_document_that_kills_is_refused_until_it_is_forgotten() -> None:
    court = Court()
    court.die(diff())
    assert court.die(court.suspects.probe_of(diff()), alone=True, probe=True) is Kind.DOCUMENT
    court.now_s += 1e6
    assert court.refuses(merge(b"a")) is Reason.CONTEXT_DAMAGED
    forget = Request()
    forget.forget.guid = GUID
    assert court.refuses(forget) is None
    court.suspects.sent(forget)
    assert court.refuses(merge(b"a")) is None


def test_a_document_whose_updates_kill_again_and_again_is_refused_for_a_while() -> None:
    court = Court()
    for number in range(3):
        update = merge(b"%d" % number)
        court.die(update)
        court.clear_probe(update)
        assert court.refuses(update) is None
        assert court.die(update, alone=True) is Kind.UPDATE
    assert court.refuses(merge(b"other")) is Reason.CONTEXT_DAMAGED
    court.now_s += 61.0
    assert court.refuses(merge(b"other")) is None


def test_suspicion_and_convictions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "SUSPECTS", 3)
    court = Court()
    court.die(*(merge(b"a", b"guid %d" % number) for number in range(5)))
    careful = [n for n in range(5) if court.suspects.care(merge(b"a", b"guid %d" % n)) is not Care.NONE]
    assert careful == [2, 3, 4]


def convicted(update: bytes) -> Conviction:
    """A conviction of an update."""
    request = merge(update)
    return Conviction(Kind.UPDATE, hashlib.sha256(update).digest(), request.merge.id, request)


def test_what_is_set_aside_is_bounded_and_the_newest_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "ASIDE_FILES", 3)
    kept = Aside(tmp_path)
    assert kept.sums() == []
    for number in range(5):
        kept.put(convicted(b"%d" % number), "SIGSEGV", NOW_MS + number)
    assert kept.sums() == [hashlib.sha256(b"%d" % number).digest() for number in (2, 3, 4)]
    monkeypatch.setattr(aside, "ASIDE_BYTES", 10)
    kept.put(convicted(b"123456789"), "SIGSEGV", NOW_MS + 9)
    assert len(kept.sums()) == 2
    assert len(list(kept.folder.iterdir())) == 4


def test_what_else_is_in_the_folder_is_nobodys_sum(tmp_path: Path) -> None:
    kept = Aside(tmp_path)
    kept.put(convicted(b"a"), "SIGSEGV", NOW_MS)
    (kept.folder / "notes.json").write_text("{}")
    assert len(kept.sums()) == 1


def test_the_worker_loads_no_grpc_and_no_event_loop() -> None:
    import subprocess
    import sys

    program = (
        "import sys, tallystick_node.contexts.worker.process;"
        "print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'asyncio', 'click', 'pysyncobj')])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout.strip() == "[]"
