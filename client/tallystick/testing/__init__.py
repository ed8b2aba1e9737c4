"""The public test kit: for those who test agents against a store that fails, and for us.

`LocalCluster` runs real nodes on this machine, to be cut, killed and frozen around an agent (see
`tallystick.testing.local_cluster`); it is imported when it is first named.

    async with LocalCluster(nodes=3) as cluster, cluster.connect(namespace="demo") as client: ...

`SimCluster` runs the same nodes in one process, under virtual time, all from a seed (`tallystick_node.sim`).

    with SimCluster(nodes=3, seed=7) as cluster:
        cluster.run(scenario)                          # `async def scenario(cluster): ...`

The rest judges: record what clients asked and were told, then ask a checker whether the promises were kept. It needs
the standard library only and has no clock, so the same history gets the same verdict everywhere.

Example:
    history = History()
    call = history.begin("worker-1", "counter", "increment", 1, at_s=time.monotonic())
    ...
    call.ok(at_s=time.monotonic(), result=1, revision=17)     # or .failed(), .undecided()
    check_linearizability(history, counter()).raise_unless_valid()
    check_witness(history, counter()).raise_unless_valid()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from tallystick.testing.convergence import Observation, check_agreement, check_convergence
from tallystick.testing.history import Call, Consistency, History, Kind, Operation, Outcome
from tallystick.testing.linearizability import check_linearizability
from tallystick.testing.models import Model, append_only_list, counter, register
from tallystick.testing.sessions import check_sessions
from tallystick.testing.verdict import Budget, CheckFailed, Report, Verdict, Violation, steps
from tallystick.testing.watches import Event, Stream, check_watch
from tallystick.testing.witness import check_witness

if TYPE_CHECKING:
    from tallystick.testing.local_cluster import LocalCluster
    from tallystick.testing.local_node import LocalClusterError
    from tallystick.testing.local_wait import eventually
    from tallystick.testing.sim_cluster import Deadlock, SimCluster, SimulationFailed
    from tallystick.testing.sync_cluster import SyncLocalCluster

_ON_DEMAND: Final = {
    "Deadlock": "sim_cluster",
    "LocalCluster": "local_cluster",
    "LocalClusterError": "local_node",
    "SimCluster": "sim_cluster",
    "SimulationFailed": "sim_cluster",
    "SyncLocalCluster": "sync_cluster",
    "eventually": "local_wait",
}
"""What pulls in the client or starts programs, by the module that has it."""

__all__ = [
    "Budget",
    "Call",
    "CheckFailed",
    "Consistency",
    "Deadlock",
    "Event",
    "History",
    "Kind",
    "LocalCluster",
    "LocalClusterError",
    "Model",
    "Observation",
    "Operation",
    "Outcome",
    "Report",
    "SimCluster",
    "SimulationFailed",
    "Stream",
    "SyncLocalCluster",
    "Verdict",
    "Violation",
    "append_only_list",
    "check_agreement",
    "check_convergence",
    "check_linearizability",
    "check_sessions",
    "check_watch",
    "check_witness",
    "counter",
    "eventually",
    "register",
    "steps",
]


if not TYPE_CHECKING:  # type checkers see the imports above, and refuse other names

    def __getattr__(name: str) -> object:
        """Imports on demand (PEP 562)."""
        if name not in _ON_DEMAND:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)
