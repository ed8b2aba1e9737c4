"""What the tests with a real cluster share: a failed test shows the ends of the nodes' logs."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.cluster.harness import Cluster


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
