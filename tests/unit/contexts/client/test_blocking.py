"""The blocking twin of a context: the same words, from threads without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, MutableSequence

import pytest

from tallystick import Unavailable, sync
from tallystick.contexts import Change
from tests.unit.contexts.client.node_kit import DEADLINE_S, Shared, serving


def use(endpoint: str) -> None:
    with (
        sync.connect(endpoint, namespace="demo", actor="me", timeout_s=DEADLINE_S) as client,
        client.context("plan") as plan,
    ):
        tasks, notes = plan.map("tasks"), plan.list("notes")
        assert isinstance(tasks, MutableMapping)
        assert isinstance(notes, MutableSequence)
        with plan.transaction("both"):
            tasks["a"] = 1
            notes.append("x")
        notes[0:1] = ["y", "z"]
        tasks.setdefault("b", 2)
        plan.text("text").append("hi")
        plan.counter("votes").add(3)
        plan.flush()
        assert plan.to_json() == {"tasks": {"a": 1, "b": 2}, "notes": ["y", "z"], "text": "hi", "votes": 3}
        assert dict(tasks) == {"a": 1, "b": 2}
        assert (len(notes), list(notes), "y" in notes, str(plan.text("text"))) == (2, ["y", "z"], True, "hi")
        assert plan.counter("votes").value == 3
        with plan.changes() as changes:
            tasks["c"] = 3
            change = next(changes)
        assert isinstance(change, Change)
        assert change.path == "/tasks/c"
        assert plan.undo()
        assert "c" not in tasks
        with pytest.raises(KeyError):
            tasks["c"]
    with pytest.raises(Unavailable):
        tasks["d"] = 4


async def test_a_whole_session() -> None:
    shared = Shared()
    async with serving(shared) as endpoint:
        await asyncio.to_thread(use, endpoint)
    assert shared.content() == {"a": 1, "b": 2}
    assert shared.got[0].cause == "both"
