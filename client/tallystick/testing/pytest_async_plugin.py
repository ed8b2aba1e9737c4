"""The fixture of the pytest plugin for tests that are coroutines; loaded where pytest-asyncio is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tallystick.testing.pytest_plugin import make_cluster

if TYPE_CHECKING:
    from tallystick.testing.local_cluster import LocalCluster


@pytest_asyncio.fixture
async def tallystick_async_cluster(request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    """A running cluster of real nodes on this machine, for asyncio."""
    async with make_cluster(request) as cluster:
        yield cluster
