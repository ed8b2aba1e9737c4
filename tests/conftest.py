"""What all tests share: what Python compiles is kept, whatever the caller's environment says; who runs beside whom.

Tests start nodes hundreds of times, and compiling is half of a node's start: `PYTHONDONTWRITEBYTECODE`, which many
containers set, would have each of them do it anew.

Tests with real nodes wait much and are hurt by each other: all of them run on one worker, one after the other, and the
other workers compute meanwhile.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_HERE = Path(__file__).parent
_WITH_NODES = tuple(_HERE / name for name in ("cluster", "chaos", "power"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests with real nodes into one group."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in _WITH_NODES):
            item.add_marker(pytest.mark.xdist_group("real nodes"))
