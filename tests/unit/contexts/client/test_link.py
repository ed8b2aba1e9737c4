"""A replica and its node: order, gaps, acks, refusals, epochs, streams that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pycrdt
import pytest

from tallystick import Client, Context, Invalid, NotFound, Reason, Unavailable
from tallystick.contexts import Change, Refusal, store
from tallystick.contexts import context as context_module
from tallystick.v1 import context_pb2
from tests.unit.contexts.client.node_kit import DEADLINE_S, Shared, served


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
async def client(shared: Shared) -> AsyncIterator[Client]:
    async with served(shared) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - inner states of a link tell nobody
            await asyncio.sleep(0.001)


class Other:
    """Somebody else who edits at the node."""

    def __init__(self, shared: Shared, writer: int = 77) -> None:
        self.shared = shared
        self.doc: pycrdt.Doc[pycrdt.Map[object]] = pycrdt.Doc(client_id=writer)
        self.clock = 0

    def set(self, key: str, value: object) -> tuple[bytes, int, int, int]:
        before = self.doc.get_state()
        self.doc.get("tasks", type=pycrdt.Map)[key] = value
        self.clock += 1
        return self.doc.get_update(before), self.doc.client_id, self.clock - 1, self.clock


async def shows(context: Context, wanted: object) -> None:
    async with asyncio.timeout(DEADLINE_S):
        changes = context.changes()
        while context.to_json().get("tasks") != wanted:
            await anext(changes)
        await changes.aclose()


async def test_what_is_edited_comes_to_the_node_with_cause_and_time(shared: Shared, client: Client) -> None:
    async with client.context("plan") as plan:
        with plan.transaction("tool:plan"):
            plan.map("tasks")["a"] = 1
            plan.map("tasks")["b"] = [2]
        cursor = await plan.flush()
        assert cursor == plan.cursor
        assert plan.unsent == 0
    assert shared.content() == {"a": 1, "b": [2]}
    (update,) = shared.got
    assert (update.cause, update.writer, update.epoch) == ("tool:plan", 2**32, 1)
    assert update.time_unix_ms > 1_600_000_000_000


async def test_edits_that_wait_together_are_sent_as_one(shared: Shared, client: Client) -> None:
    async with client.context("plan") as plan:
        for number in range(300):
            plan.map("tasks")[f"k{number}"] = number
        await plan.flush()
    assert shared.content() == {f"k{number}": number for number in range(300)}
    assert len(shared.got) < 10


async def test_what_others_edit_is_shown_with_its_author(shared: Shared, client: Client) -> None:
    other = Other(shared)
    async with client.context("plan") as plan:
        seen: list[Change] = []
        plan.map("tasks")["mine"] = True
        plan.observe(seen.extend)
        shared.push(*other.set("theirs", 1))
        await shows(plan, {"mine": True, "theirs": 1})
    assert [(change.path, change.new, change.author.actor) for change in seen] == [("/tasks/theirs", 1, "other")]


async def test_what_comes_out_of_order_is_not_applied_but_asked_for(shared: Shared, client: Client) -> None:
    other = Other(shared)
    async with client.context("plan") as plan:
        plan.map("tasks")["mine"] = True
        await plan.flush()
        first = other.set("a", 1)
        shared.doc.apply_update(first[0])  # merged, but its push is lost
        shared.push(*other.set("b", 2))
        await shows(plan, {"mine": True, "a": 1, "b": 2})
    assert shared.resyncs == 1


async def test_a_broken_stream_is_opened_anew_and_all_is_sent_again(shared: Shared, client: Client) -> None:
    shared.acks = (context_pb2.ACK_LEVEL_LOCAL,)
    async with client.context("plan") as plan:
        plan.map("tasks")["a"] = 1
        await plan.flush(ack="local")
        with pytest.raises(Unavailable):
            await plan.flush(ack="quorum", timeout_s=0.05)
        assert plan.unsent == 1
        shared.acks = (context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM)
        shared.break_streams()
        await plan.flush(ack="quorum")
    assert len(shared.opened) == 2
    assert len(shared.got) == 2
    assert shared.got[0].update == shared.got[1].update


async def test_a_refused_edit_is_gone_and_those_after_it_are_made_again(shared: Shared, client: Client) -> None:
    shared.refuses["bad"] = Reason.CONTEXT_QUOTA
    refusals: list[Refusal] = []
    async with client.context("plan") as plan:
        plan.on_refused(refusals.append)
        plan.map("tasks")["kept"] = 1
        first_writer = plan.writer
        with plan.transaction("bad"):
            plan.map("tasks")["refused"] = 2
        with plan.transaction("good"):
            plan.map("tasks")["later"] = 3
        with pytest.raises(Exception, match="CONTEXT_QUOTA"):
            await plan.flush()
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"kept": 1, "later": 3}
        assert plan.writer != first_writer
    assert shared.content() == {"kept": 1, "later": 3}
    assert [refusal.cause for refusal in refusals] == ["bad"]
    again = [update for update in shared.got if update.cause == "good"][-1]
    assert again.writer != first_writer


async def test_a_refused_group_is_taken_apart(shared: Shared, client: Client) -> None:
    """Only the guilty one of several that went as one is refused."""
    async with client.context("plan") as plan:
        refused = False

        def refuse_groups(update: context_pb2.SyncUpdate) -> bool:
            return len(update.update) > 60 or b"guilty" in update.update

        shared.refuses_if = refuse_groups
        plan.map("tasks")["x"] = 0
        await plan.flush()
        for key in ("a", "guilty", "b"):
            plan.map("tasks")[key] = 1
        try:
            await plan.flush()
        except Invalid as error:
            refused = error.reason is Reason.MALFORMED_UPDATE
        assert refused
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"x": 0, "a": 1, "b": 1}


async def test_in_a_new_epoch_old_edits_go_first_and_later_ones_are_made_again(shared: Shared, client: Client) -> None:
    async with client.context("plan") as plan:
        plan.map("tasks")["old"] = 1
        await plan.flush()
        old_writer, shared.acks = plan.writer, ()
        plan.map("tasks")["unacknowledged"] = 2
        await shared.until_got(2)
        shared.start_epoch({"old": 1, "unacknowledged": 2})  # as if the node had carried it over
        await until(lambda: plan._link.standing.is_draining)
        with plan.transaction("late"):
            plan.map("tasks")["later"] = 3
        assert plan.epoch == 1
        shared.acks = (context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM)
        shared.ack(2)
        await plan.flush()
        assert plan.epoch == 2
        assert plan.writer != old_writer
        assert plan.map("tasks").to_dict() == {"old": 1, "unacknowledged": 2, "later": 3}
    assert shared.content() == {"old": 1, "unacknowledged": 2, "later": 3}
    late = shared.got[-1]
    assert (late.cause, late.epoch) == ("late", 2)


async def test_an_epoch_that_began_while_the_replica_was_away(shared: Shared, client: Client, tmp_path: Path) -> None:
    """Edits too old to be carried over are made again from what the store remembers."""
    path = tmp_path / "plan.db"
    async with client.context("plan", store=path) as plan:
        plan.map("tasks")["old"] = 1
        await plan.flush()
        shared.acks = ()
        plan.map("tasks")["old"] = 2
        plan.map("tasks")["offline"] = 3
        await plan.flush(ack="disk")
    shared.start_epoch({"old": 1, "elsewhere": 4})
    shared.epoch = 3
    shared.refuses_if = lambda update: update.epoch < 3
    shared.refusal = Reason.EPOCH_CONFLICT
    shared.acks = (context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM)
    async with client.context("plan", store=path) as plan:
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"old": 2, "offline": 3, "elsewhere": 4}
    assert shared.content() == {"old": 2, "offline": 3, "elsewhere": 4}


async def test_a_deleted_context_ends(shared: Shared, client: Client) -> None:
    async with client.context("plan") as plan:
        plan.map("tasks")["a"] = 1
        await plan.flush()
        shared.exists = False
        shared.break_streams()
        with pytest.raises(NotFound):
            async with asyncio.timeout(DEADLINE_S):
                await plan._holding.until(lambda: False)
        with pytest.raises(NotFound):
            plan.map("tasks")["b"] = 2


async def test_a_context_that_is_not_there_is_made_or_refused(shared: Shared, client: Client, tmp_path: Path) -> None:
    shared.exists = False
    for _ in range(2):  # what the first leaves does not keep the second out
        with pytest.raises(NotFound):
            async with client.context("plan", create=False, store=tmp_path / "plan.db"):
                pass
    async with client.context("plan", seed={"tasks": {"a": 1}, "notes": "hello", "log": []}) as plan:
        assert plan.to_json().items() >= {"tasks": {"a": 1}, "notes": "hello"}.items()
        assert list(plan.list("log")) == []
        with pytest.raises(Invalid, match="TYPE_CLASH"):
            plan.text("log")


async def test_an_edit_above_the_limit_is_taken_back_at_once(shared: Shared, client: Client) -> None:
    async with client.context("plan") as plan:
        plan.map("tasks")["before"] = 1
        with pytest.raises(Invalid) as raised, plan.transaction():
            plan.map("tasks").set_many({f"big{number}": "x" * 100_000 for number in range(12)})
        assert raised.value.reason is Reason.TOO_LARGE
        assert plan.map("tasks").to_dict() == {"before": 1}
        plan.map("tasks")["after"] = 2
        with pytest.raises(Invalid):
            await plan.flush()
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"before": 1, "after": 2}
    assert shared.content() == {"before": 1, "after": 2}


async def test_what_a_store_holds_is_there_without_a_node(
    shared: Shared, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "OFFLINE_AFTER_S", 0.1)
    path = tmp_path / "plan.db"
    async with client.context("plan", store=path) as plan:
        plan.map("tasks")["a"] = 1
        await plan.flush()
        await until(lambda: plan._link.supply.has_spares)
        first_writer = plan.writer
    async with nowhere(client) as alone, alone.context("plan", store=path) as plan:
        assert not plan.is_online
        assert plan.map("tasks").to_dict() == {"a": 1}
        assert plan.writer != first_writer
        plan.map("tasks")["offline"] = 2
        with pytest.raises(Unavailable):
            await plan.flush(timeout_s=0.05)
        await plan.flush(ack="disk")
    async with client.context("plan", store=path) as plan:
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"a": 1, "offline": 2}
    assert shared.content() == {"a": 1, "offline": 2}


def nowhere(client: Client) -> Client:
    """A client that reaches no node."""
    return Client(
        ["127.0.0.1:1"], namespace="demo", tls=None, consistency=client._consistency, timeout_s=5.0, actor="me"
    )


@pytest.mark.parametrize("is_offline", [True, False])
async def test_a_store_restored_from_an_old_copy_writes_under_no_id_that_was_used_since(
    shared: Shared, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_offline: bool
) -> None:
    monkeypatch.setattr(context_module, "OFFLINE_AFTER_S", 0.1)
    path = tmp_path / "plan.db"
    async with client.context("plan", store=path) as plan:
        plan.map("tasks")["a"] = 1
        await plan.flush()
        await until(lambda: plan._link.supply.has_spares)
    old = path.read_bytes()
    async with client.context("plan", store=path) as plan:
        used = plan.writer
        plan.map("tasks")["b"] = 2
        plan.map("tasks")["b2"] = 2
        await plan.flush()
    path.write_bytes(old)  # in its place: no other file
    if is_offline:
        async with nowhere(client) as alone, alone.context("plan", store=path) as plan:
            assert plan.writer == used
            with plan.transaction("alone"):
                plan.map("tasks")["c"] = 3
            await plan.flush(ack="disk")
    shared.got.clear()
    async with client.context("plan", store=path) as plan:
        plan.map("tasks")["d"] = 4
        await plan.flush()
        assert plan.map("tasks").to_dict() == shared.content()
        assert plan.writer != used
    wanted = {"a": 1, "b": 2, "b2": 2, "d": 4} | ({"c": 3} if is_offline else {})
    assert shared.content() == wanted
    assert all(update.writer > used + 3 for update in shared.got)  # the spares of the copy are not used either
    assert [update.cause for update in shared.got if update.cause] == (["alone"] if is_offline else [])


async def test_a_process_that_goes_on_from_a_snapshot_of_its_machine_writes_under_another_id(
    shared: Shared, client: Client
) -> None:
    async with client.context("plan") as plan:
        plan.map("tasks")["a"] = 1
        await plan.flush()
        used = plan.writer
        later = Other(shared, used)  # what this process did after the snapshot
        later.doc.apply_update(shared.doc.get_update())
        before = later.doc.get_state()
        later.doc.get("tasks", type=pycrdt.Map).update({"b": 2, "c": 2, "d": 2})
        shared.doc.apply_update(later.doc.get_update(before))
        shared.break_streams()
        plan.map("tasks")["mine"] = 3
        await until(lambda: plan.writer != used)
        await plan.flush()
        assert plan.map("tasks").to_dict() == {"a": 1, "b": 2, "c": 2, "d": 2, "mine": 3}
    assert shared.content() == {"a": 1, "b": 2, "c": 2, "d": 2, "mine": 3}


async def test_what_was_sent_and_not_acknowledged_is_sent_again_as_it_was(
    shared: Shared, client: Client, tmp_path: Path
) -> None:
    """A node knows the writer of what a former process sent, and nobody else wrote under it."""
    path = tmp_path / "plan.db"
    shared.acks = ()
    async with client.context("plan", store=path) as plan:
        plan.list("log").append("once")
        await shared.until_got(1)
        used = plan.writer
    shared.acks = (context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM)
    async with client.context("plan", store=path) as plan:
        await plan.flush()
        assert list(plan.list("log")) == ["once"]
    assert [update.writer for update in shared.got] == [used, used]


async def test_the_store_of_who_only_writes_stays_bounded(
    shared: Shared, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOG_UPDATES", 10)
    async with client.context("plan") as plan:
        for number in range(100):
            plan.map("tasks")["n"] = number
            await plan.flush()
        kept = await plan._store.history()
        assert len(kept.rows) <= 11
    assert shared.content() == {"n": 99}
