"""The feed, rule by rule."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from tallystick.errors import Compacted, Invalid, Overloaded, Reason, Unavailable
from tallystick_node.core.outcomes import Event
from tallystick_node.feed.batch import BATCH_BYTES, BATCH_EVENTS, SCAN_EVENTS, Filter, collect, counted_bytes
from tallystick_node.feed.feed import MARK_AFTER_EVENTS, Feed, History
from tallystick_node.feed.ring import Ring
from tallystick_node.storage.database import Database
from tests.unit.feed_kit import (
    DEADLINE_S,
    MemoryHistory,
    apply,
    checkpoint,
    context,
    deletion,
    mutation,
    next_batch,
    read_until,
    writers,
)

ALL = Filter("n")


def fits(database: Database) -> History:
    """Checked by the type checker: the real history is one."""
    return database.reads


async def test_a_watch_from_now_on_begins_where_it_was_called() -> None:
    history = MemoryHistory([mutation(1)])
    feed = Feed(history)
    watch = feed.watch(ALL)
    apply(history, feed, mutation(2), checkpoint(3), deletion(4))
    async with aclosing(watch):
        assert await next_batch(watch) == ((mutation(2), checkpoint(3), deletion(4)), 4)


async def test_a_waiting_reader_is_woken_by_what_it_wants_only() -> None:
    history = MemoryHistory()
    feed = Feed(history)
    async with aclosing(feed.watch(Filter("n", agent="a"))) as watch:
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        apply(history, feed, mutation(1, "other"), mutation(2, "n", "b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        apply(history, feed, mutation(3))
        assert await asyncio.wait_for(waiting, DEADLINE_S) == ((mutation(3),), 3)
    assert not (feed._waiters._by_agent or feed._waiters._by_namespace)


async def test_a_reader_of_a_namespace_hears_of_its_contexts_and_others_do_not() -> None:
    history = MemoryHistory()
    feed = Feed(history)
    wanted = (ALL, Filter("n", agent="a"), Filter("n", prefix="a"), Filter("n", prefix=""), Filter("m"))
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(aclosing(feed.watch(each))) for each in wanted]
        waiting = [asyncio.create_task(anext(watch)) for watch in watches]
        await asyncio.sleep(0)
        apply(history, feed, writers(1), context(2))
        assert await asyncio.wait_for(waiting[0], DEADLINE_S) == ((context(2),), 2)
        assert not any(task.done() for task in waiting[1:])
        apply(history, feed, mutation(3), mutation(4, "m"))
        batches = [await asyncio.wait_for(task, DEADLINE_S) for task in waiting[1:]]
        assert [batch.events for batch in batches] == [(mutation(3),)] * 3 + [(mutation(4, "m"),)]
    assert not (feed._waiters._by_agent or feed._waiters._by_namespace)


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        (Filter("n"), [1, 2, 3]),
        (Filter("n", agent="ab"), [2]),
        (Filter("n", prefix="ab"), [2, 3]),
        (Filter("n", prefix=""), [1, 2, 3]),
        (Filter("m"), [4]),
        (Filter("x"), []),
    ],
)
async def test_filters(wanted: Filter, positions: list[int]) -> None:
    events = [mutation(1, "n", "a"), mutation(2, "n", "ab"), mutation(3, "n", "abc"), mutation(4, "m", "ab")]
    history = MemoryHistory(list(events))
    assert await read_until(Feed(history, progress_s=0.01), wanted, 0, 4) == positions
    live_history = MemoryHistory()
    feed = Feed(live_history, progress_s=0.01)
    reading = asyncio.create_task(read_until(feed, wanted, 0, 4))
    for event in events:
        await asyncio.sleep(0)
        apply(live_history, feed, event)
    assert await reading == positions


async def test_batches_are_bounded_in_events() -> None:
    history = MemoryHistory([mutation(n) for n in range(1, 1201)])
    for feed in (Feed(history), Feed(MemoryHistory())):
        if not feed._history.position:  # the same from the ring
            history = MemoryHistory()
            feed = Feed(history)
            apply(history, feed, *[mutation(n) for n in range(1, 1201)])
        async with aclosing(feed.watch(ALL, 0)) as watch:
            sizes = [len((await next_batch(watch)).events) for _ in range(3)]
        assert sizes == [BATCH_EVENTS, BATCH_EVENTS, 200]


async def test_batches_are_bounded_in_bytes_but_for_a_single_event() -> None:
    sizes_bytes = [400_000, 400_000, 400_000, 3 * BATCH_BYTES, 10]
    history = MemoryHistory()
    feed = Feed(history)
    apply(history, feed, *[mutation(n, size_bytes=size) for n, size in enumerate(sizes_bytes, 1)])
    async with aclosing(feed.watch(ALL, 0)) as watch:
        batches = [await next_batch(watch) for _ in range(4)]
    assert [[event.position for event in batch.events] for batch in batches] == [[1, 2], [3], [4], [5]]
    assert [batch.cursor for batch in batches] == [2, 3, 4, 5]


def test_a_look_ends_after_a_bound_wanted_or_not() -> None:
    events = [mutation(n) for n in range(1, SCAN_EVENTS + 10)]
    assert collect(events, Filter("n", agent="z"), 0) == ((), SCAN_EVENTS)


async def test_the_ring_is_bounded_and_the_history_serves_what_it_dropped() -> None:
    for bounds in ({"ring_events": 8}, {"ring_bytes": 8 * counted_bytes(mutation(1))}):
        history = MemoryHistory()
        feed = Feed(history, **bounds)
        for position in range(1, 101):
            apply(history, feed, mutation(position))
            assert feed._ring.head - feed._ring.floor <= 8
        assert feed._ring.size_bytes == 8 * counted_bytes(mutation(1))
        assert await read_until(feed, ALL, 92, 100) == list(range(93, 101))
        assert history.pages == 0, "from the ring alone"
        assert await read_until(feed, ALL, 0, 100) == list(range(1, 101))
        assert history.pages > 0


def test_an_event_larger_than_the_ring_is_not_held() -> None:
    ring = Ring(0, 10, 1000)
    assert ring.extend([mutation(1), mutation(2, size_bytes=2000), mutation(3)], 3)
    assert list(ring.after(ring.floor)) == [mutation(3)]
    assert ring.extend([mutation(4, size_bytes=2000)], 4)
    assert (ring.floor, ring.head, ring.size_bytes) == (4, 4, 0)


async def test_a_snapshot_that_jumps_ahead_is_read_from_the_history() -> None:
    history = MemoryHistory()
    feed = Feed(history)
    apply(history, feed, mutation(1))
    reading = asyncio.create_task(read_until(feed, ALL, 0, 60))
    await asyncio.sleep(0)
    history.append(*[mutation(n) for n in range(2, 51)])
    feed.publish((), 50)
    await asyncio.sleep(0)
    apply(history, feed, *[mutation(n) for n in range(51, 61)])
    assert await reading == list(range(1, 61))
    with pytest.raises(ValueError, match="position 59 was published after 60"):
        feed.publish((), 59)


async def test_what_went_with_a_deleted_agent_is_passed_over() -> None:
    history = MemoryHistory([mutation(n) for n in range(1, 11)], hidden={2, 3, 9, 10})
    feed = Feed(history, progress_s=0.01)
    assert await read_until(feed, ALL, 0, 10) == [1, 4, 5, 6, 7, 8]
    async with aclosing(feed.watch(ALL, 8)) as watch:
        assert (await next_batch(watch)).cursor == 10


async def test_a_mark_after_progress_s_moves_the_cursor() -> None:
    history = MemoryHistory()
    feed = Feed(history, progress_s=0.05)
    async with aclosing(feed.watch(Filter("n", agent="z"))) as watch:
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        apply(history, feed, mutation(1), mutation(2))
        assert await asyncio.wait_for(waiting, DEADLINE_S) == ((), 2)
        assert await next_batch(watch) == ((), 2), "and again, though nothing came"


async def test_marks_while_a_long_stretch_is_not_wanted() -> None:
    count = 3 * MARK_AFTER_EVENTS
    history = MemoryHistory([mutation(n) for n in range(1, count + 1)])
    async with aclosing(Feed(history).watch(Filter("n", agent="z"), 0)) as watch:
        first, second = await next_batch(watch), await next_batch(watch)
    assert first.events == second.events == ()
    assert MARK_AFTER_EVENTS <= first.cursor < first.cursor + MARK_AFTER_EVENTS <= second.cursor <= count


@pytest.mark.parametrize("agent", ["a", "z"], ids=["wanted", "not wanted"])
async def test_a_long_replay_lets_others_have_their_turn(agent: str) -> None:
    history = MemoryHistory([mutation(n) for n in range(1, 20_001)])
    feed = Feed(history, progress_s=0.01)
    reading = asyncio.create_task(read_until(feed, Filter("n", agent=agent), 0, 20_000))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert history.pages == 40
    assert turns >= 39
    await reading


async def test_a_cursor_too_far_behind_is_compacted() -> None:
    history = MemoryHistory([mutation(n) for n in range(1, 101)])
    feed = Feed(history, replay_limit_events=10)
    with pytest.raises(Compacted) as raised:
        await next_batch(feed.watch(ALL, 89))
    assert raised.value.metadata == {"oldest": "90"}
    assert await read_until(feed, ALL, 90, 100) == list(range(91, 101))
    async with aclosing(feed.watch(ALL, 90)) as watch:
        await next_batch(watch)
        apply(history, feed, *[mutation(n) for n in range(101, 120)])
        with pytest.raises(Compacted) as raised:
            await next_batch(watch)
        assert raised.value.metadata == {"oldest": "109"}
    assert feed.subscribers == 0


async def test_who_missed_what_retention_removed_is_told() -> None:
    history = MemoryHistory([mutation(n) for n in range(1, 11)])
    feed = Feed(history)
    history.gone = 4
    with pytest.raises(Compacted) as raised:
        await next_batch(feed.watch(ALL, 3))
    assert raised.value.metadata == {"oldest": "4"}
    assert await read_until(feed, ALL, 4, 10) == list(range(5, 11))
    apply(history, feed, *[mutation(n) for n in range(11, 21)])
    history.gone = 20  # what is at hand is told all the same
    assert await read_until(feed, ALL, 10, 20) == list(range(11, 21))


async def test_a_cursor_ahead_is_invalid() -> None:
    feed = Feed(MemoryHistory([mutation(1)]))
    with pytest.raises(Invalid) as raised:
        await next_batch(feed.watch(ALL, 2))
    assert raised.value.reason is Reason.INVALID_REQUEST
    with pytest.raises(Invalid):
        Filter("n", agent="a", prefix="a")


async def test_watches_are_bounded_and_a_closed_one_makes_room() -> None:
    feed = Feed(MemoryHistory(), max_subscribers=1, progress_s=0.01)
    async with aclosing(feed.watch(ALL)) as watch:
        await next_batch(watch)
        with pytest.raises(Overloaded):
            await next_batch(feed.watch(ALL))
    async with aclosing(feed.watch(ALL)) as watch:
        await next_batch(watch)


async def test_close_ends_all_watches() -> None:
    history = MemoryHistory([mutation(1)])
    feed = Feed(history)
    waiting, reading = feed.watch(ALL), feed.watch(ALL, 0)
    task = asyncio.create_task(anext(waiting))
    await next_batch(reading)
    feed.close()
    for ended in (task, anext(reading), anext(feed.watch(ALL))):
        with pytest.raises(Unavailable) as raised:
            await asyncio.wait_for(ended, DEADLINE_S)
        assert raised.value.reason is Reason.STOPPING
    assert feed.subscribers == 0


async def test_an_event_at_the_moment_of_a_timeout_is_not_missed() -> None:
    """The wait times out, and before the reader has its turn the event is published."""
    history = MemoryHistory()
    feed = Feed(history)
    async with aclosing(feed.watch(Filter("n", agent="a"))) as watch:
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        (waiter,) = feed._waiters._by_agent["n", "a"]
        feed._time_out(waiter)
        apply(history, feed, mutation(1))
        assert await asyncio.wait_for(waiting, DEADLINE_S) == ((mutation(1),), 1)


async def test_a_thousand_idle_watches_cost_an_event_nothing() -> None:
    history = MemoryHistory()
    feed = Feed(history)
    watches = [feed.watch(Filter("n", agent=f"idle-{n}")) for n in range(1000)]
    waiting = [asyncio.create_task(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    assert feed.subscribers == 1000
    looks: list[int] = []
    original = feed._look

    def counted(wanted: Filter, cursor: int) -> tuple[tuple[Event, ...], int]:
        looks.append(cursor)
        return original(wanted, cursor)

    feed._look = counted  # type: ignore[method-assign, assignment]
    for position in range(1, 1001):
        apply(history, feed, mutation(position))
        await asyncio.sleep(0)
    assert looks == []
    apply(history, feed, mutation(1001, agent="idle-7"))
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert looks == [1000], "one woken, and it looks at one event"
    feed.close()
    await asyncio.gather(*waiting, return_exceptions=True)
