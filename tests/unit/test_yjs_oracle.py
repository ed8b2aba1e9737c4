"""Yjs, on the same bytes, makes of them what a node does: the oracle of what documents mean."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any, Final

import pytest
from pycrdt import Array, Doc, Map, Text

from tests.unit.contexts.desk.kit import FIRST, Asker, Replica
from tests.yjs.client import YjsClient, install_yjs

pytestmark = pytest.mark.xdist_group("real nodes")

ROOTS: Final = {"tasks": "map", "steps": "list", "notes": "text"}
DOCUMENTS: Final = 40
WRITERS: Final = 3
ROUNDS: Final = 12
WORDS: Final = ("one", "zwei", "tr\u00e8s", "\U0001f33f", "", "a longer one of several words")


def edit(replica: Replica, rng: random.Random) -> None:
    """One random transaction."""
    with replica.doc.transaction():
        for _ in range(rng.randint(1, 3)):
            match rng.randrange(5):
                case 0:
                    replica.map()[f"k{rng.randrange(4)}"] = rng.choice([rng.choice(WORDS), True, None, 2.5, {"a": [1]}])
                case 1:
                    replica.map().pop(f"k{rng.randrange(4)}", None)
                case 2:
                    steps = replica.sequence("steps")
                    steps.insert(rng.randint(0, len(steps)), rng.choice(WORDS))
                case 3:
                    steps = replica.sequence("steps")
                    if len(steps):
                        del steps[rng.randrange(len(steps))]
                case _:
                    write(replica.text("notes"), rng)


def write(text: Text, rng: random.Random) -> None:
    """Types or deletes, at the border of a character: pycrdt counts bytes."""
    before = str(text)
    at = len(before[: rng.randint(0, len(before))].encode())
    if before and rng.random() < 0.3:
        start = rng.randrange(len(before))
        del text[len(before[:start].encode()) : len(before[: start + 1].encode())]
    else:
        text.insert(at, rng.choice(WORDS))


def shown(doc: Doc[Any]) -> dict[str, object]:
    """The roots as pycrdt has them."""
    tasks: Map[Any] = doc.get("tasks", type=Map)
    steps: Array[Any] = doc.get("steps", type=Array)
    return {"tasks": tasks.to_py(), "steps": steps.to_py(), "notes": str(doc.get("notes", type=Text))}


async def test_yjs_and_a_desk_make_the_same_of_random_documents(tmp_path: Path) -> None:
    await asyncio.to_thread(install_yjs)
    asker = Asker(tmp_path)
    async with YjsClient() as oracle:
        for seed in range(DOCUMENTS):
            rng = random.Random(seed)
            guid = rng.randbytes(16)
            replicas = [Replica(FIRST + seed * WRITERS + place) for place in range(WRITERS)]
            for _ in range(ROUNDS):
                replica = rng.choice(replicas)
                edit(replica, rng)
                for update in replica.take():
                    asker.merge(update, writer=replica.writer, guid=guid)
                if rng.random() < 0.4:  # this one hears of the others; the rest edit on without knowing
                    replica.hear(asker.whole(guid=guid))
            whole = asker.whole(guid=guid)
            ours: Doc[Any] = Doc()
            ours.apply_update(whole)
            theirs = await oracle.merged([whole, *(replica.doc.get_update() for replica in replicas)], ROOTS)
            assert json.loads(json.dumps(shown(ours))) == theirs, f"seed {seed}"
    asker.desk.close()
