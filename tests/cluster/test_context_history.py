"""The past of a context on real nodes: who wrote what, what overlapped, how it was, and how it is again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

import pytest
import pytest_asyncio

from tallystick import Context, Invalid
from tallystick.testing import LocalCluster

DEADLINE_S: Final = 60.0
SCHEMA: Final[dict[str, Any]] = {
    "roots": {"tasks": {"type": "map", "schema": {"additionalProperties": {"enum": ["open", "mine", "yours", "done"]}}}}
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(nodes=3, folder=tmp_path_factory.mktemp("cluster")) as cluster:
        await cluster.wait_for_leader()
        yield cluster


async def shows(context: Context, wanted: Callable[[dict[str, object]], bool]) -> None:
    """Waits until the replica's content is so."""
    async with asyncio.timeout(DEADLINE_S), aclosing(context.changes()) as changes:
        while not wanted({**context.to_json()}):
            await anext(changes)


async def test_edited_looked_back_at_and_restored(cluster: LocalCluster) -> None:
    async with (
        cluster.connect(actor="ann", nodes=["a"]) as ann,
        cluster.connect(actor="ben", nodes=["b"]) as ben,
        ann.context("plan", schema=SCHEMA) as here,
    ):
        with here.transaction("begin"):
            here.map("tasks")["t1"] = "open"
            here.text("notes").append("hello")
        async with ben.context("plan", after=await here.flush()) as there:
            # Neither knows of the other's edit: nothing is heard between the two.
            with here.transaction("claim"):
                here.map("tasks")["t1"] = "mine"
            with there.transaction("claim too"):
                there.map("tasks")["t1"] = "yours"
                there.map("tasks")["t2"] = "unheard of"
            await there.flush()
            await here.flush()
            await shows(here, lambda content: "t2" in content["tasks"])  # type: ignore[operator]

            overlaps = [overlap async for overlap in here.overlaps()]
            assert [(overlap.kind, overlap.path) for overlap in overlaps] == [("key", "/tasks/t1")]
            assert {overlaps[0].first.actor, overlaps[0].second.actor} == {"ann", "ben"}
            assert {overlaps[0].first_value, overlaps[0].second_value} == {"mine", "yours"}
            flagged = [edit for edit in [edit async for edit in here.history()] if edit.flags]
            assert [(edit.actor, edit.cause) for edit in flagged] == [("ben", "claim too")]
            assert flagged[0].flags[0].startswith("schema: /tasks/t2: 'unheard of' is not one of")
            lines = {line.path: (line.value, line.edit.actor, line.edit.cause) for line in await here.blame()}
            winner = "ann" if here.map("tasks")["t1"] == "mine" else "ben"
            assert lines["/tasks/t1"][1] == winner
            assert lines["/tasks/t2"] == ("unheard of", "ben", "claim too")
            assert lines["/notes/0-5"] == ("hello", "ann", "begin")

            before = here.to_json()
            await here.save_version("reviewed")
            here.text("notes").append(", and more")
            here.map("tasks")["t3"] = "done"
            await here.flush()
            assert await here.restore("reviewed", cause="as it was reviewed")
            await shows(there, lambda content: content == before)
            await shows(here, lambda content: content == before)
            assert await here.restore(1, cause="from the start")
            await shows(there, lambda content: content == {"notes": "hello", "tasks": {"t1": "open"}})
            assert not await here.restore(1)
            causes = [edit.cause async for edit in here.history(actor="ann")]
            assert causes[-2:] == ["as it was reviewed", "from the start"]


async def test_a_schema_that_is_none_is_refused(cluster: LocalCluster) -> None:
    async with cluster.connect(actor="ann") as ann:
        with pytest.raises(Invalid, match="schema"):
            await ann.create_context("wrong", schema={"roots": {"a": {"type": "tree"}}})
