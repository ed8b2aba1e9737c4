"""The use cases of teams, over a real database; consensus is left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.core.commands import TakeTeamCheckpoint
from tallystick_node.schemas.checking import Checks
from tallystick_node.schemas.validators import Validators
from tallystick_node.storage.database import Database
from tallystick_node.team_store import TeamStore
from tests.unit.database_support import START_MS, append, apply_each, set_op

LOCAL = ReadFrom(Consistency.LOCAL, 0, 1.0)
AGENTS = 20


class Ready(Access):
    """Says at once that this node may answer."""

    def __init__(self) -> None:
        pass

    async def ready(self, read_from: ReadFrom) -> None:
        assert read_from == LOCAL


async def test_others_have_a_turn_between_two_states(tmp_path: Path) -> None:
    """A thousand states take seconds to rebuild; a leader that stands still that long leads no more."""
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *(append([set_op("/n", "1")], agent=f"a{number:02}") for number in range(AGENTS)))
    apply_each(database, TakeTeamCheckpoint(START_MS, "demo", "cut", b"f"))
    checks = Checks(Ready(), database.reads.registry, Validators())
    teams = TeamStore(Ready(), database.reads, checks, lambda: START_MS)
    turns = 0
    reading = asyncio.create_task(teams.states("demo", "cut", 0, AGENTS, LOCAL, changed_only=False))
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    page = await reading
    assert [state.state for state in page.states] == [b'{"n":1}'] * AGENTS
    assert turns >= AGENTS
    database.close()
