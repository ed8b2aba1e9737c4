"""The SQLite state machine: reads, bounds, what a deletion leaves, what is durable when."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tallystick.errors import NotFound, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import Command, CreateContext, DeleteContext, Operation, OperationKind
from tallystick_node.core.outcomes import AgentDeleted, Appended, CheckpointTaken, MutationDecided, Refusal
from tallystick_node.core.values import canonical_json, parse_json
from tallystick_node.storage.database import Database, Entry
from tallystick_node.storage.errors import UnknownFormat
from tallystick_node.storage.reads import At, AtCheckpoint, AtSeq, AtTime, Head
from tallystick_node.storage.schema import FORMAT
from tests.unit.database_support import append, apply_each, checkpoint, delete_agent, rows_digest, set_op, target


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "state.db")
    yield opened
    opened.close()


def increments(count: int, *, start: int = 0) -> list[list[Operation]]:
    return [[Operation(OperationKind.INCREMENT, ("n",), b"1")] for _ in range(start, count)]


def apply_many(database: Database, commands: Sequence[Command]) -> None:
    database.apply([(database.applied_index + 1, 1, commands, None)])


def test_reads_at_head_seq_checkpoint_and_time(database: Database) -> None:
    for number in range(5):
        apply_each(database, append([set_op("/n", str(number))], time_ms=1000 + 10 * number))
        if number == 2:
            apply_each(database, checkpoint("three"))
    head = database.reads.read_state(target(), Head())
    assert (head.seq, head.state) == (5, b'{"n":4}')
    assert head.time_unix_ms >= 1040
    assert head.checkpoint is not None
    assert (head.checkpoint.name, head.checkpoint.seq, head.checkpoint.step) == ("three", 3, 7)
    assert database.reads.read_state(target(), AtSeq(0)).state == b"{}"
    early = database.reads.read_state(target(), AtSeq(2))
    assert (early.state, early.time_unix_ms, early.checkpoint) == (b'{"n":1}', 1010, None)
    assert database.reads.read_state(target(), AtCheckpoint("three")).state == b'{"n":2}'
    for time_ms, seq in ((1000, 1), (1009, 1), (1010, 2), (1020, 3), (2**63, 5)):
        assert database.reads.read_state(target(), AtTime(time_ms)).seq == seq
    events = database.reads.events(0, 10)
    assert isinstance(events[0], MutationDecided)
    assert isinstance(events[3], CheckpointTaken)
    assert head.hash == database.reads.mutations(target(), 4, 1).items[0].hash


@pytest.mark.parametrize(
    ("agent", "at", "reason"),
    [
        ("nobody", Head(), Reason.AGENT_NOT_FOUND),
        ("a", AtSeq(2), Reason.SEQ_NOT_FOUND),
        ("a", AtSeq(2**64 - 1), Reason.SEQ_NOT_FOUND),
        ("a", AtCheckpoint("none"), Reason.CHECKPOINT_NOT_FOUND),
        ("a", AtTime(999), Reason.TIME_NOT_FOUND),
    ],
)
def test_what_is_not_there(database: Database, agent: str, at: At, reason: Reason) -> None:
    apply_each(database, append([set_op("/n", "1")], time_ms=1000))
    with pytest.raises(NotFound) as caught:
        database.reads.read_state(target(agent), at)
    assert caught.value.reason is reason


def test_a_branch_that_is_not_there(database: Database) -> None:
    apply_each(database, append([set_op("/n", "1")]))
    with pytest.raises(NotFound) as caught:
        database.reads.read_state(target()._replace(branch="side"), Head())
    assert caught.value.reason is Reason.BRANCH_NOT_FOUND


def test_pages(database: Database) -> None:
    apply_each(database, *[append([set_op("/n", "1")], agent=f"a{number}") for number in range(5)])
    apply_each(database, *[checkpoint(f"c{number}", agent="a1") for number in range(5)])
    reads = database.reads
    page = reads.agents("demo", "a", "a1", 2)
    assert ([log.target.agent for log in page.items], page.more) == (["a2", "a3"], True)
    assert [log.target.agent for log in reads.agents("demo", "a4", "", 9).items] == ["a4"]
    assert reads.agents("other", "", "", 9).items == []
    first = reads.checkpoints(target("a1"), 0, 3)
    rest = reads.checkpoints(target("a1"), first.items[-1].position, 3)
    assert [taken.name for taken in first.items + rest.items] == ["c0", "c1", "c2", "c3", "c4"]
    assert (first.more, rest.more) == (True, False)
    assert reads.checkpoint(target("a1"), "c3") == rest.items[0]
    assert [event.position for event in reads.events(3, 4)] == [4, 5, 6, 7]
    assert reads.events(10, 4) == []


def test_pages_are_bounded_by_bytes_and_never_empty(database: Database) -> None:
    large = '"' + "x" * 100_000 + '"'
    apply_each(database, *[append([set_op("/n", large)]) for _ in range(5)])
    assert len(database.reads.events(0, 100, max_bytes=250_000)) == 2
    assert len(database.reads.events(0, 100, max_bytes=1)) == 1
    apply_each(database, *[append([set_op("/n", large)]) for _ in range(40)])
    page = database.reads.mutations(target(), 0, 1000)
    assert page.more
    assert limits.PAGE_BYTES - 200_000 < sum(len(event.raw) for event in page.items) <= limits.PAGE_BYTES


@pytest.mark.parametrize("count", [300, 20_000])
def test_reading_replays_no_more_for_a_long_log(tmp_path: Path, count: int) -> None:
    path = tmp_path / "state.db"
    database = Database.open(path)
    for _ in range(0, count, 100):
        apply_many(database, [append(*increments(100))])
    database.close()
    database = Database.open(path)
    assert database.reads.read_state(target(), Head()).state == canonical_json({"n": count})
    assert database.replayed_mutations <= 228
    for seq in (1, count // 3, count // 2, count - 1):
        before = database.replayed_mutations
        assert database.reads.read_state(target(), AtSeq(seq)).state == canonical_json({"n": seq})
        assert database.replayed_mutations - before <= 228
    database.close()


def test_snapshots_cost_no_more_than_the_log(database: Database) -> None:
    apply_each(database, append([set_op("/big", '"' + "x" * 400_000 + '"')]))
    for _ in range(60):
        apply_many(database, [append(*increments(100))])
    with closing(sqlite3.connect(database.path)) as connection:
        snapshot_bytes, rows = connection.execute("SELECT sum(length(state)), count(*) FROM snapshots").fetchone()
    log = database.reads.log(target())
    assert rows >= 2
    assert snapshot_bytes <= log.log_bytes + 256 * log.seq + 2 * log.state_bytes


def test_a_state_that_only_grows_has_one_snapshot(database: Database) -> None:
    said = '"' + "x" * 2000 + '"'
    for _ in range(20):
        apply_many(database, [append(*[[Operation(OperationKind.APPEND, ("m",), said.encode())]] * 100)])
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (1,)


def test_a_small_cache_gives_the_same_states(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db", state_cache_bytes=0)
    for number in range(6):
        apply_many(database, [append([set_op("/n", str(number))], agent=agent) for agent in ("a", "b", "c", "a", "b")])
    for agent, seq in (("a", 12), ("b", 12), ("c", 6)):
        assert database.reads.log(target(agent)).seq == seq
        assert database.reads.read_state(target(agent), Head()).state == b'{"n":5}'
    assert database.replayed_mutations > 6
    database.close()


def test_the_hash_chain_holds_over_the_stored_rows(database: Database) -> None:
    apply_each(database, *[append([set_op("/n", str(number))], [set_op("/m", "1")]) for number in range(3)])
    chained = b""
    with closing(sqlite3.connect(database.path)) as connection:
        rows = connection.execute("SELECT seq, time_unix_ms, actor, hash, body FROM events ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    for seq, time_unix_ms, actor, stored, raw in rows:
        head = seq.to_bytes(8, "big") + time_unix_ms.to_bytes(8, "big") + len(actor).to_bytes(4, "big")
        chained = hashlib.sha256(chained + head + actor.encode() + raw).digest()
        assert chained == stored


def test_keys_are_remembered_within_a_bound(database: Database) -> None:
    total = limits.KEYS_REMEMBERED + limits.KEYS_PRUNE_STEP
    apply_many(database, [append([set_op("/n", "1")], key=f"k{number}") for number in range(total)])
    with closing(sqlite3.connect(database.path)) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM keys").fetchone()
    assert kept == limits.KEYS_REMEMBERED
    oldest_kept, newest_forgotten = (
        append([set_op("/n", "1")], key=f"k{number}") for number in (limits.KEYS_PRUNE_STEP, limits.KEYS_PRUNE_STEP - 1)
    )
    kept_answer, forgotten_answer = apply_each(database, oldest_kept, newest_forgotten)
    assert isinstance(kept_answer.outcome, Appended)
    assert (kept_answer.outcome.replayed, kept_answer.outcome.last_seq) == (True, limits.KEYS_PRUNE_STEP + 1)
    assert isinstance(forgotten_answer.outcome, Appended)
    assert (forgotten_answer.outcome.replayed, forgotten_answer.outcome.last_seq) == (False, total + 1)


def test_a_retry_within_one_transaction(database: Database) -> None:
    twice = append([set_op("/n", "1")], key="k")
    ((first, second),) = database.apply([(1, 1, [twice, twice], None)])
    assert isinstance(first.outcome, Appended)
    assert isinstance(second.outcome, Appended)
    assert (second.outcome.position, second.outcome.replayed, second.events) == (first.outcome.position, True, ())


def test_a_deletion_takes_everything_but_itself(database: Database) -> None:
    for _ in range(4):
        apply_many(database, [append(*increments(100), agent="a", key="k" if _ == 0 else None)])
    apply_each(database, checkpoint("c", agent="a"), append([set_op("/n", "1")], agent="b"))
    applied = apply_each(database, delete_agent("a", key="d"))[0]
    assert isinstance(applied.events[0], AgentDeleted)
    assert [type(event) for event in database.reads.events(0, 10)] == [MutationDecided, AgentDeleted]
    with closing(sqlite3.connect(database.path)) as connection:
        for table in ("logs", "events", "checkpoints", "keys", "snapshots"):
            column = "number" if table == "logs" else "log"
            query = f"SELECT count(*) FROM {table} WHERE {column} = 1"  # noqa: S608
            assert connection.execute(query).fetchone() == (1 if table == "events" else 0,)
    assert database.reads.agent_count == 1
    apply_each(database, append([set_op("/n", "7")], agent="a"))
    assert database.reads.read_state(target("a"), Head()).state == b'{"n":7}'
    again = apply_each(database, delete_agent("a", key="d"))[0]
    assert again.events == ()
    assert database.reads.agent_count == 2


def test_the_state_has_a_quota(database: Database) -> None:
    piece = '"' + "x" * 1_000_000 + '"'
    outcomes = [apply_each(database, append([set_op(f"/p{number}", piece)]))[0].outcome for number in range(17)]
    assert all(isinstance(outcome, Appended) for outcome in outcomes[:16])
    assert isinstance(outcomes[16], Refusal)
    assert outcomes[16].reason is Reason.STATE_QUOTA
    assert database.reads.log(target()).seq == 16
    state = parse_json(database.reads.read_state(target(), Head()).state)
    assert isinstance(state, dict)
    assert len(state) == 16


def test_the_digest_tells_histories_apart(tmp_path: Path) -> None:
    digests = set()
    for name, value in (("one", "1"), ("two", "1"), ("three", "2")):
        database = Database.open(tmp_path / name)
        start = database.digest
        apply_each(database, append([set_op("/n", value)]), checkpoint("c"))
        database.apply([(3, 1, [], None)])
        assert database.applied_index == 3
        assert database.digest != start
        digests.add(database.digest)
        database.close()
    assert len(digests) == 2


def test_entries_come_in_order(database: Database) -> None:
    apply_each(database, append([set_op("/n", "1")]))
    before = rows_digest(database.path)
    refused: list[list[Entry]] = [[(1, 1, [], None)], [(2, 1, [], None), (2, 1, [], None)]]
    for entries in refused:
        with pytest.raises(ValueError, match="comes after"):
            database.apply(entries)
    assert rows_digest(database.path) == before
    assert database.applied_index == 1


def test_a_checkpoint_makes_durable_what_was_applied(database: Database) -> None:
    apply_each(database, append([set_op("/n", "1")]), append([set_op("/n", "2")]))
    assert database.durable_index == 0
    database.checkpoint()
    assert database.durable_index == 2


def test_an_open_read_holds_the_durable_index_back(database: Database) -> None:
    apply_each(database, append([set_op("/n", "1")]))
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        apply_each(database, append([set_op("/n", "2")]))
        database.checkpoint()
        assert database.durable_index == 0
    database.checkpoint()
    assert database.durable_index == 2


def test_checkpoints_run_beside_applies(database: Database) -> None:
    failures: list[Exception] = []
    stopping = threading.Event()

    def checkpoint_until_stopped() -> None:
        try:
            while not stopping.is_set():
                database.checkpoint()
                assert database.durable_index <= database.applied_index + 1
        except Exception as error:  # noqa: BLE001 - the assertion below names it
            failures.append(error)

    thread = threading.Thread(target=checkpoint_until_stopped)
    thread.start()
    try:
        for _ in range(150):
            apply_each(database, append(*increments(20)))
    finally:
        stopping.set()
        thread.join(timeout=60)
    assert not failures
    database.checkpoint()
    assert database.durable_index == 150
    assert database.reads.read_state(target(), Head()).state == b'{"n":3000}'


def test_a_large_write_ahead_log_is_cut(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.storage.database._TRUNCATE_WAL_BYTES", 100_000)
    apply_each(database, append([set_op("/n", '"' + "x" * 500_000 + '"')]))
    assert database.wal_bytes > 100_000
    database.checkpoint()
    assert database.wal_bytes == 0
    assert database.size_bytes > 500_000
    assert database.durable_index == 1


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UnknownFormat, match=f"format {FORMAT + 1}"):
        Database.open(path)


def test_a_context_that_is_gone_had_no_base(database: Database) -> None:
    create = CreateContext(1000, "demo", "plan", b"g" * 16, b"", b"seed")
    apply_many(database, [create])
    assert database.reads.contexts.base(b"g" * 16) == b"seed"
    assert [database.reads.contexts.base_of(b"g" * 16, epoch) for epoch in (1, 2)] == [b"seed", None]
    apply_many(database, [DeleteContext(1001, "demo", "plan", b"g" * 16, "me")])
    assert database.reads.contexts.base(b"g" * 16) is None
