"""The pytest plugin: a cluster as a fixture, its logs in the report of a test that fails.

    def test_my_agent(tallystick_cluster):                      # blocking: a SyncLocalCluster
        with tallystick_cluster.connect("demo") as client: ...

    async def test_my_agent(tallystick_async_cluster):          # with pytest-asyncio: a LocalCluster
        async with tallystick_async_cluster.connect("demo") as client: ...

    pytest --tallystick-nodes=5 --tallystick-keep

Rules of this file:
- A run that uses none of it pays for the import of this file only: what starts nodes is imported by the fixture.
- Each test has a cluster of its own. Who wants one for many tests writes a fixture around `LocalCluster`.
- `tallystick_async_cluster` exists where pytest-asyncio does; nothing here needs it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tallystick.testing.local_cluster import LocalCluster
    from tallystick.testing.sync_cluster import SyncLocalCluster

_CLUSTER: Final = pytest.StashKey["LocalCluster"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options."""
    group = parser.getgroup("tallystick")
    group.addoption(
        "--tallystick-nodes", type=int, default=3, metavar="N", help="nodes of a test's cluster (default: 3)"
    )
    group.addoption(
        "--tallystick-keep",
        action="store_true",
        help="keep the nodes' data and logs, below pytest's temporary folder (--basetemp), and say where",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Adds the fixture for asyncio if there is who runs it."""
    if any(config.pluginmanager.hasplugin(name) for name in ("asyncio", "pytest_asyncio.plugin")):
        from tallystick.testing import pytest_async_plugin

        config.pluginmanager.register(pytest_async_plugin, "tallystick-asyncio")


@pytest.fixture
def tallystick_cluster(request: pytest.FixtureRequest) -> Iterator[SyncLocalCluster]:
    """A running cluster of real nodes on this machine, blocking."""
    with make_cluster(request).sync() as cluster:
        yield cluster


def make_cluster(request: pytest.FixtureRequest) -> LocalCluster:
    """The cluster that the options ask for, not yet started; its logs will be in the report if the test fails."""
    from tallystick.testing.local_cluster import LocalCluster

    nodes: int = request.config.getoption("--tallystick-nodes")
    folder = None
    if request.config.getoption("--tallystick-keep"):
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        folder = factory.mktemp("tallystick")
    cluster = LocalCluster(nodes, folder=folder)
    request.node.stash[_CLUSTER] = cluster
    return cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the nodes said to the report of a test that failed, and where their data is if it is kept."""
    report = yield
    cluster = item.stash.get(_CLUSTER, None)
    if cluster is not None and report.failed:
        report.sections.append(("tallystick nodes", cluster.log_tails()))
    if cluster is not None and report.when == "teardown" and item.config.getoption("--tallystick-keep"):
        report.user_properties.append(("tallystick_folder", str(cluster.folder)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says where what was kept is."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, folder in getattr(report, "user_properties", ()):
                if name == "tallystick_folder":
                    terminalreporter.write_line(f"tallystick: {report.nodeid} left its nodes in {folder}")
