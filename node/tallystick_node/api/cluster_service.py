"""`tallystick.v1.ClusterService`: what this node knows of itself and its cluster."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.v1 import cluster_pb2, cluster_pb2_grpc
from tallystick_node.api import calls
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers


class ClusterService(cluster_pb2_grpc.ClusterServiceServicer):
    """See the module.

    Args:
        status: fills everything but the header.
    """

    def __init__(self, status: Callable[[], cluster_pb2.StatusResponse], headers: Headers) -> None:
        self._status = status
        self._headers = headers

    @calls.unary
    async def Status(self, _request: cluster_pb2.StatusRequest, _context: Context) -> cluster_pb2.StatusResponse:  # noqa: N802
        response = self._status()
        response.header.CopyFrom(self._headers.make())
        return response
