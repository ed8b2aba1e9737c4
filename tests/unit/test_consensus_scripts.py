"""Golden scripts of consensus: `tests/scripts/consensus/*.txt`.

A block is comments and commands, `---`, and what came of them; blocks are parted by an empty line, and each goes on
where the one before it ended. The commands are those of consensus_stage.py. Regenerate with
`TALLYSTICK_GOLDEN=write pytest tests/unit/test_consensus_scripts.py`, and commit only a difference that you understand.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.consensus_stage import Stage

SCRIPTS = sorted((Path(__file__).parent.parent / "scripts" / "consensus").glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    wanted = script.read_text()
    found = _run(wanted)
    if os.environ.get("TALLYSTICK_GOLDEN") == "write":
        script.write_text(found)
        wanted = found
    assert found == wanted


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 7


def _run(text: str) -> str:
    stage = Stage()
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return "\n\n".join(_run_block(stage, block.split("\n---")[0]) for block in blocks) + "\n"


def _run_block(stage: Stage, commands: str) -> str:
    stage.lines.clear()
    for line in commands.splitlines():
        if not line.startswith("#"):
            stage.run(line)
    return "\n".join([commands, "---", *stage.lines])
