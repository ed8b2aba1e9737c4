"""What a desk tells before a batch is on disk, and what it holds if the process ends right then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.storage.errors import DiskFull
from tests.unit.contexts.desk.kit import FIRST, Asker, Replica, context_id, merge_request

PEER = worker_pb2.ORIGIN_PEER


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path)


def told_early(asker: Asker, requests: Sequence[worker_pb2.Request]) -> list[int]:
    """The numbers that are told early of a batch; each of them is then answered with the same."""
    early: list[worker_pb2.Response] = []
    for place, request in enumerate(requests, 1):
        request.id = place
    answers = {answer.id: answer for answer in asker.desk.handle(requests, early.extend)}
    for response in early:
        assert response.is_early
        assert response.merged == answers[response.id].merged
    assert not any(answer.is_early for answer in answers.values())
    return [response.merged.number for response in early]


def test_edits_of_peers_are_told_before_the_commit(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    store = Rows.commit

    def commit(rows: Rows) -> None:
        said.append("commit")
        store(rows)

    monkeypatch.setattr(Rows, "commit", commit)
    asker.desk.handle([merge_request(Replica().set("n", 1), origin=PEER)], lambda _: said.append("told"))
    assert said[:2] == ["told", "commit"]


def test_edits_of_clients_wait_for_the_disk_and_what_follows_them_too(asker: Asker) -> None:
    peers = [Replica(FIRST + number) for number in range(3)]
    batch = [
        merge_request(peers[0].set("a", 1), origin=PEER, writer=FIRST),
        worker_pb2.Request(describe=worker_pb2.Describe(id=context_id())),
        merge_request(peers[1].set("b", 1), writer=FIRST + 1),
        merge_request(peers[2].set("c", 1), origin=PEER, writer=FIRST + 2),
    ]
    assert told_early(asker, batch) == [1]


def test_what_only_deletes_is_not_told_early(asker: Asker) -> None:
    """Its number would be all that asks for it, and that may become another's."""
    peer = Replica()
    assert told_early(asker, [merge_request(peer.set("a", 1), origin=PEER)]) == [1]
    deletion = merge_request(peer.edit(lambda: peer.map().pop("a")), origin=PEER)
    assert told_early(asker, [deletion, merge_request(peer.set("b", 1), origin=PEER)]) == []
    assert told_early(asker, [merge_request(peer.set("c", 1), origin=PEER)]) == [4]


def test_what_is_known_or_refused_or_lacks_something_is_passed_over(asker: Asker) -> None:
    peer = Replica()
    first, second, third = (peer.set("a", number) for number in range(3))
    batch = [merge_request(update, origin=PEER) for update in (third, first, first, b"\xff", second)]
    assert told_early(asker, batch) == [1, 2]


def test_a_large_batch_is_told_once(asker: Asker) -> None:
    peer = Replica()
    updates = [peer.set("a", number) for number in range(own.EARLY_REQUESTS + 1)]
    assert told_early(asker, [merge_request(update, origin=PEER) for update in updates]) == []


def test_a_full_disk_refuses_what_was_told(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    asker.merge(Replica().set("n", 0))
    early: list[worker_pb2.Response] = []
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "commit", _full)
        update = Replica(FIRST + 1).set("m", 1)
        (answer,) = asker.desk.handle([merge_request(update, origin=PEER)], early.extend)
    assert len(early) == 1
    assert answer.error.reason == "DISK_FULL"
    assert asker.json() == b'{"tasks":{"n":0}}'


def _full(*_: object) -> None:
    raise DiskFull(28, "no room for the database")


def main(folder: str) -> None:
    """Dies as by kill -9 once an edit of a peer was told, before it is on disk."""
    asker = Asker(Path(folder))
    asker.merge(Replica().set("n", 0))

    def tell(early: Sequence[worker_pb2.Response]) -> None:
        print(early[0].merged.number, flush=True)
        os.kill(os.getpid(), 9)

    asker.desk.handle([merge_request(Replica(FIRST + 1).set("theirs", 1), origin=PEER)], tell)


def test_kill_between_telling_and_the_commit_leaves_a_log_without_a_gap(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.contexts.desk.test_early", str(tmp_path)]
    died = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (died.returncode, died.stdout) == (-9, "2\n")
    asker = Asker(tmp_path)
    assert asker.json() == b'{"tasks":{"n":0}}'
    assert asker.merge(Replica(FIRST + 2).set("mine", 1), writer=FIRST + 2).number == 2
    assert asker.merge(Replica(FIRST + 1).set("theirs", 1), origin=PEER).number == 3
    assert asker.json() == b'{"tasks":{"mine":1,"n":0,"theirs":1}}'


if __name__ == "__main__":
    main(*sys.argv[1:])
