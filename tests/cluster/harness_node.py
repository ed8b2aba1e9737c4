"""One node as a child process: the public kit's."""

from tallystick.testing.local_node import NodePlan, NodeProcess

__all__ = ["NodePlan", "NodeProcess"]
