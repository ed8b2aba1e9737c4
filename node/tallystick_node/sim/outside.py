"""`Outside` of a simulated client: its clock, randomness, keys and channels come from the simulation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import grpc

from tallystick_node.sim.channel import SimChannel
from tallystick_node.sim.host import UNIX_START_MS
from tallystick_node.sim.network import Network


class SimOutside:
    """See `tallystick._outside.Outside`."""

    def __init__(self, network: Network, place: str, rng: random.Random) -> None:
        self._network = network
        self._place = place
        self.rng = rng

    def clock(self) -> float:
        """See `Outside`."""
        return self._network.loop.time()

    def unix_ms(self) -> int:
        """See `Outside`."""
        return UNIX_START_MS + int(self._network.loop.time() * 1000)

    def new_key(self) -> str:
        """See `Outside`."""
        return self.rng.randbytes(16).hex()

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        """See `Outside`."""
        del credentials
        return cast("grpc.aio.Channel", SimChannel(self._network, self._place, address, options))
