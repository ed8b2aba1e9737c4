"""What the tests with a real cluster share: a failed test shows the ends of the nodes' logs; folders to begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster
from tests.cluster.harness_snapshots import make_compacted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the logs of a cluster that came as a fixture."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Cluster):
                report.sections.append(("logs of the nodes", value.log_tails()))
    return report


@pytest.fixture(scope="session")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a cluster that has compacted its journals (`harness_snapshots.py`): to be copied."""
    folder = tmp_path_factory.mktemp("compacted")
    asyncio.run(make_compacted(folder))
    return folder
