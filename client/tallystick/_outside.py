"""What a client takes from the machine it runs on: a clock, randomness, keys, channels.

`Machine` is a machine; the simulation runs the same client on one of its own. Everything else that takes time is
asyncio's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from random import Random
from typing import Protocol

import grpc


class Outside(Protocol):
    """See the module."""

    @property
    def rng(self) -> Random:
        """For jitter and the choice of a node: nothing secret."""

    def clock(self) -> float:
        """Seconds that never go back, from anywhere."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970, by the wall clock: for the record, and for how long a claim lasts."""

    def new_key(self) -> str:
        """A new idempotency key: 128 random bits."""

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        """A gRPC channel, which connects when it is used."""


class Machine:
    """`Outside` of a process on a machine."""

    def __init__(self) -> None:
        self.rng = Random()

    def clock(self) -> float:
        """See `Outside`."""
        return time.monotonic()

    def unix_ms(self) -> int:
        """See `Outside`."""
        return time.time_ns() // 1_000_000

    def new_key(self) -> str:
        """See `Outside`."""
        return secrets.token_hex(16)

    def open_channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int]]
    ) -> grpc.aio.Channel:
        """See `Outside`."""
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, credentials, options=options)
