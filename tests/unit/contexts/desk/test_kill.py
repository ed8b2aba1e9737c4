"""kill -9 of a process that merges in a loop: what it answered is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tests.unit.contexts.desk.kit import FIRST, PLAN, Asker, Replica, guid_of, merge_request

LINES = 40
"""Batches answered before it is killed, in each round."""
ROUNDS = 3
BATCH = 5


def main(folder: str, writer: str) -> None:
    """Merges batches without end; says after each how many updates of this writer were answered."""
    own.STATE_UPDATES = 7  # type: ignore[misc]  # so that it is killed while it stores states too
    asker = Asker(Path(folder), history_updates=40)
    replica = Replica(int(writer))
    answered = 0
    while True:
        requests = [
            merge_request(replica.set(f"{writer}/{answered + step}", step), writer=replica.writer)
            for step in range(BATCH)
        ]
        assert all(response.merged.is_novel for response in asker.desk.handle(requests))
        answered += BATCH
        print(answered, flush=True)


def test_kill_loses_no_answered_merge(tmp_path: Path) -> None:
    answered: dict[int, int] = {}
    for turn in range(ROUNDS):
        writer = FIRST + turn
        command = [sys.executable, "-m", "tests.unit.contexts.desk.test_kill", str(tmp_path), str(writer)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for _ in range(LINES):
                    answered[writer] = int(process.stdout.readline())
            finally:
                process.kill()
            answered[writer] = int((process.stdout.read().split() or [str(answered[writer])])[-1])
    asker = Asker(tmp_path)
    held = Replica(1)
    held.hear(asker.whole())
    tasks = held.map().to_py()
    assert tasks is not None
    for writer, number in answered.items():
        assert number >= LINES * BATCH
        assert all(f"{writer}/{step}" in tasks for step in range(number))
    other = guid_of("other")
    assert asker.merge(Replica().set("a", 1), guid=other).number == 1
    assert asker.ask(worker_pb2.Request(squash=worker_pb2.Squash(guid=PLAN))).HasField("done")
    asker.desk.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
