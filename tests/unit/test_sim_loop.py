"""The loop of the simulation: virtual time, processes that stand or are gone, nothing real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tallystick_node.sim.loop import START_S, Deadlock, SimLoop, State, current_process


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    loop = SimLoop()
    yield loop
    loop.end()


def test_an_hour_takes_no_time_and_the_order_is_that_of_the_clock(loop: SimLoop) -> None:
    seen: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(name)

    async def main() -> None:
        await asyncio.gather(wait("late", 3600.0), wait("early", 0.001), wait("between", 60.0))

    began_s = time.monotonic()
    loop.run_until_complete(main())
    assert seen == ["early", "between", "late"]
    assert 3600.0 <= loop.now_s - START_S < 3600.1
    assert time.monotonic() - began_s < 60.0  # it did not wait; no more is asked of a busy machine


def test_who_looks_at_the_clock_moves_it(loop: SimLoop) -> None:
    first = loop.time()
    assert loop.time() > first
    assert loop.now_s == loop.now_s


def test_waiting_for_what_never_comes_is_an_error_not_a_hang(loop: SimLoop) -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        loop.run_until_complete(main())


def test_a_job_in_a_thread_runs_here_and_its_answer_takes_its_time(loop: SimLoop) -> None:
    loop.thread_s = lambda: 2.0

    async def main() -> tuple[int, float]:
        before_s = loop.now_s
        return await asyncio.to_thread(lambda: 7), loop.now_s - before_s

    answer, took_s = loop.run_until_complete(main())
    assert answer == 7
    assert 2.0 <= took_s < 2.1


def test_what_a_job_raises_reaches_who_waits(loop: SimLoop) -> None:
    def job() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.run_until_complete(asyncio.to_thread(job))


async def _count(seen: list[float], loop: SimLoop) -> None:
    while True:
        seen.append(loop.now_s)
        await asyncio.sleep(1.0)


def test_a_process_that_stands_does_nothing_and_goes_on_late(loop: SimLoop) -> None:
    process = loop.begin_process("a")
    seen: list[float] = []

    async def main() -> None:
        task = loop.create_task(_count(seen, loop), context=process.context())
        await asyncio.sleep(2.5)
        process.state = State.STANDS
        await asyncio.sleep(10.0)
        assert len(seen) == 3
        loop.release(process)
        await asyncio.sleep(2.5)
        assert len(seen) == 6
        task.cancel()

    loop.run_until_complete(main())


def test_a_process_that_is_gone_runs_nothing_more_not_even_its_finally(loop: SimLoop) -> None:
    process = loop.begin_process("a")
    seen: list[str] = []

    async def live() -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append("went on")
        finally:
            seen.append("ended")

    async def main() -> list[str]:
        loop.create_task(live(), context=process.context())
        await asyncio.sleep(0.5)
        process.state = State.GONE
        await asyncio.sleep(10.0)
        return list(seen)

    assert loop.run_until_complete(main()) == []


def test_tasks_inherit_their_process(loop: SimLoop) -> None:
    process = loop.begin_process("a")

    async def child() -> str:
        found = current_process()
        return found.name if found is not None else "nobody"

    async def parent() -> str:
        return await asyncio.create_task(child())

    async def main() -> tuple[str, str]:
        return await loop.create_task(parent(), context=process.context()), await child()

    assert loop.run_until_complete(main()) == ("a", "nobody")


def test_sets_of_tasks_are_walked_in_the_order_of_their_making(loop: SimLoop) -> None:
    async def main() -> list[str]:
        tasks = {asyncio.create_task(asyncio.sleep(0), name=str(number)) for number in range(50)}
        names = [task.get_name() for task in tasks]
        await asyncio.wait(tasks)
        return names

    names = loop.run_until_complete(main())
    other = SimLoop()
    assert other.run_until_complete(main()) == names
    other.end()


def test_what_a_callback_raises_is_kept(loop: SimLoop) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1.0)

    loop.run_until_complete(main())
    assert "division by zero" in loop.failures[0]
