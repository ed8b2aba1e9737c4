"""What is handed over in parts, both ways, within its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import limits as own
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id, merge_request


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asker(tmp_path: Path, clock: Clock) -> Iterator[Asker]:
    asker = Asker(tmp_path, clock=clock)
    yield asker
    asker.desk.close()


def large() -> bytes:
    replica = Replica()
    return replica.set("t1", "x" * (3 * limits.PART_BYTES))


def test_a_large_answer_comes_in_parts(asker: Asker, clock: Clock) -> None:
    update = large()
    asker.merge(update)
    assert len(asker.whole()) == len(update)
    first = asker.ask(worker_pb2.Request(diff=worker_pb2.Diff(id=context_id()))).data
    assert len(first.data) == limits.PART_BYTES
    assert first.cursor.number == 1
    clock.now_s = own.HANDLE_S - 1
    asker.ask(worker_pb2.Request(part=worker_pb2.Part(handle=first.handle, offset=limits.PART_BYTES)))
    asker.ask(worker_pb2.Request(part=worker_pb2.Part(handle=first.handle, drop=True)))
    with pytest.raises(Refused, match="OVERLOADED"):
        asker.ask(worker_pb2.Request(part=worker_pb2.Part(handle=first.handle)))


def test_what_nobody_fetches_is_let_go_of(asker: Asker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asker.merge(large())
    monkeypatch.setattr(own, "HANDLES", 2)
    diff = worker_pb2.Request(diff=worker_pb2.Diff(id=context_id()))
    asker.ask(diff)
    asker.ask(diff)
    with pytest.raises(Refused, match="OVERLOADED"):
        asker.ask(diff)
    clock.now_s = own.HANDLE_S + 1
    asker.ask(diff)


def test_a_large_update_is_handed_in_in_parts(asker: Asker) -> None:
    update = large()
    half = len(update) // 2
    for data in (update[:half], update[half:]):
        asker.ask(worker_pb2.Request(stage=worker_pb2.Stage(handle=5, data=data)))
    request = merge_request(b"", writer=FIRST)
    request.merge.staged = 5
    assert asker.ask(request).merged.is_novel
    assert asker.whole() == update
    with pytest.raises(Refused, match="OVERLOADED"):
        asker.ask(request)


def test_what_is_handed_in_is_bounded(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = worker_pb2.Request(stage=worker_pb2.Stage(handle=5, data=b"x" * 100))
    monkeypatch.setattr(own, "DIFF_BYTES", 150)
    asker.ask(stage)
    with pytest.raises(Refused, match="TOO_LARGE"):
        asker.ask(stage)
    monkeypatch.setattr(own, "HANDLES_BYTES", 150)
    asker.ask(stage)
    stage.stage.handle = 6
    with pytest.raises(Refused, match="OVERLOADED"):
        asker.ask(stage)


def test_a_state_vector_of_nonsense_is_refused(asker: Asker) -> None:
    asker.merge(large())
    with pytest.raises(Refused, match="MALFORMED_UPDATE"):
        asker.whole(state_vector=b"\xff\xff\xff")
    ahead = Replica(FIRST)
    for number in range(9):
        ahead.set("n", number)
    assert asker.whole(state_vector=ahead.doc.get_state()) == b"\x00\x00"


def test_a_document_takes_no_more_than_its_quota(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    monkeypatch.setattr(limits, "DOCUMENT_BYTES", 20_000)
    for number in range(40):  # overwritten values take no room once the document is measured
        asker.merge(replica.set("n", f"{number:1000}"))
    taken = [asker.desk.handle([merge_request(replica.set(str(number), "x" * 1000))])[0] for number in range(40)]
    refused = [number for number, answer in enumerate(taken) if answer.error.reason == "CONTEXT_QUOTA"]
    assert refused
    assert refused[0] > 10
    other = Replica(FIRST + 1)
    other.hear(asker.whole())
    update = other.set("more", "y" * 1000)
    with pytest.raises(Refused, match="CONTEXT_QUOTA"):
        asker.merge(update, writer=other.writer)
    assert asker.merge(update, origin=worker_pb2.ORIGIN_PEER).is_novel, "what is merged elsewhere is merged here"
