"""The simulation: the real node and the real client in one process, under virtual time, with faults from a seed."""

from tallystick_node.sim.cluster import SimCluster, SimulationFailed
from tallystick_node.sim.loop import Deadlock

__all__ = ["Deadlock", "SimCluster", "SimulationFailed"]
