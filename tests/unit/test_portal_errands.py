"""What the blocking client's caller hands in is called on the caller's own thread."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import pytest

from tallystick import Lease
from tallystick._portal import Portal
from tallystick.errors import Unavailable
from tallystick.outbox import Outbox
from tallystick.sync import SyncLease, SyncOutbox


async def nothing() -> None:
    """The last coroutine of a portal that has none."""


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close(nothing)


async def calling(function: Callable[..., object], *args: object) -> object:
    """As a coroutine of the client calls what it was given."""
    return await cast("Awaitable[object]", function(*args))


def test_a_function_is_called_on_the_thread_that_waits(portal: Portal) -> None:
    threads = []

    def effect(value: int) -> int:
        threads.append(threading.current_thread())
        return value + 1

    async def _both(function: Callable[..., object]) -> list[object]:
        assert threading.current_thread() is not threading.main_thread()
        return [await calling(function, 1), await calling(function, 2)]

    assert portal.run_with(lambda here: _both(here(effect))) == [2, 3]
    assert threads == [threading.current_thread()] * 2


def test_a_coroutine_function_runs_on_the_loop(portal: Portal) -> None:
    async def effect(value: int) -> tuple[int, threading.Thread]:
        return value, threading.current_thread()

    value, thread = cast("tuple[int, threading.Thread]", portal.run_with(lambda here: calling(here(effect), 7)))
    assert value == 7
    assert thread is not threading.current_thread()


def test_what_is_no_function_is_handed_on(portal: Portal) -> None:
    async def given(value: object) -> object:
        return value

    assert portal.run_with(lambda here: given(here("retry"))) == "retry"


def test_an_exception_is_raised_where_the_function_was_called(portal: Portal) -> None:
    seen = []

    def effect() -> None:
        raise ValueError("no rows")

    async def told(function: Callable[..., object]) -> None:
        try:
            await calling(function)
        except ValueError as error:
            seen.append(error)
            raise

    with pytest.raises(ValueError, match="no rows") as caught:
        portal.run_with(lambda here: told(here(effect)))
    assert seen == [caught.value]


def test_an_interrupt_cancels_what_waited(portal: Portal) -> None:
    ended = threading.Event()

    def effect() -> None:
        raise KeyboardInterrupt

    async def told(function: Callable[..., object]) -> None:
        try:
            await calling(function)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        portal.run_with(lambda here: told(here(effect)))
    assert ended.wait(20)


def test_several_callers_at_once_are_each_called_by_themselves(portal: Portal) -> None:
    found: dict[int, int] = {}

    def run(number: int) -> None:
        me = threading.get_ident()
        found[number] = portal.run_with(lambda here: _ident(here(threading.get_ident))) - me

    async def _ident(function: Callable[..., object]) -> int:
        return cast("int", await calling(function))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == dict.fromkeys(range(8), 0)


def test_a_closed_client_calls_nothing(portal: Portal) -> None:
    portal.close(nothing)
    with pytest.raises(Unavailable):
        portal.run_with(lambda here: calling(here(pytest.fail)))


def test_what_is_called_back_on_the_loop_cannot_wait_for_it(portal: Portal) -> None:
    async def calls_back() -> tuple[bool, str]:
        here = portal.call(threading.current_thread) is threading.current_thread()
        with pytest.raises(RuntimeError, match="wait for itself") as caught:
            portal.run(nothing())
        return here, str(caught.value)

    assert portal.run(calls_back())[0]


class OnLoop:
    """In place of a lease and an outbox: notes the threads on which it is used."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def lose(self) -> None:
        self.threads.append(threading.current_thread().name)

    @property
    def queued(self) -> tuple[object, ...]:
        self.lose()
        return ()

    last_report = queued


def test_what_belongs_to_the_loop_is_done_on_its_thread(portal: Portal) -> None:
    used = OnLoop()
    SyncLease(portal, cast("Lease", used)).lose()
    box = SyncOutbox(portal, cast("Outbox", used))
    assert not box.queued and not box.last_report
    assert used.threads == ["tallystick"] * 3
