"""A client that stands beside one node: where the node is cut off, so is the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from tallystick._outside import Machine

NOWHERE: Final = "127.0.0.1:1"
"""Where nobody listens."""


class Beside(Machine):
    """A machine from which one node alone can be reached, whatever is learned of others."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._endpoint = endpoint

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        """See `Outside`."""
        return super().open_channel(address if address == self._endpoint else NOWHERE, credentials, options)
