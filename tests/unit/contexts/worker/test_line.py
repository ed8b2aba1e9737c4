"""The line of what is asked: early answers and answers come to who asked in the order in which the worker gave them."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.worker.v1.worker_pb2 import Merge, Merged, Request, Response
from tallystick_node.contexts.worker.line import Line, NotAsked
from tallystick_node.contexts.worker.suspects import Suspects


async def test_early_answers_keep_their_place_among_answers() -> None:
    line = Line(Suspects(lambda: 0.0), lambda _: None)
    heard: list[str] = []

    async def ask(name: str) -> None:
        await line.ask(Request(merge=Merge()), lambda _: heard.append(f"{name} early"))
        heard.append(name)

    asking = [asyncio.create_task(ask(name)) for name in ("first", "second")]
    await asyncio.sleep(0)
    for response in (Response(id=1), Response(id=2, is_early=True), Response(id=2)):  # of one turn of the loop
        (line.tell_early if response.is_early else line.answer)(response)
    await asyncio.gather(*asking)
    assert heard == ["first", "second early", "second"]


async def test_an_early_answer_settles_nothing() -> None:
    line = Line(Suspects(lambda: 0.0), lambda _: None)
    answer = line.ask(Request(merge=Merge()))
    line.tell_early(Response(id=1, is_early=True, merged=Merged(number=1)))
    await asyncio.sleep(0)
    assert not answer.done()
    assert (line.requests, line.is_under_way, line.answered) == (1, True, 0)
    with pytest.raises(NotAsked):
        line.tell_early(Response(id=2, is_early=True))
