"""`SimCluster`, for those who have the extra [node]: the only place where the client names the node."""

from __future__ import annotations

try:
    from tallystick_node.sim import Deadlock, SimCluster, SimulationFailed
except ModuleNotFoundError as error:
    raise ImportError(f"SimCluster runs nodes: install 'tallystick[node]' ({error.name} is missing)") from error

__all__ = ["Deadlock", "SimCluster", "SimulationFailed"]
