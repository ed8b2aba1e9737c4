"""Whether an address can be listened on: gRPC would only say that it cannot, not why."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Final

from tallystick_node.config.readers import split_address

_PORT_WAIT_S: Final = 2.0
"""How long a port may be in use at the start before this node gives up."""
_PORT_RETRY_S: Final = 0.1


class PortInUse(OSError):
    """Another process listens on the address."""


async def wait_for_port(address: str) -> None:
    """Returns once the address can be bound. A port may be held for a moment, by what this node was before."""
    deadline_s = time.monotonic() + _PORT_WAIT_S
    while (error := _bind_error(address)) is not None:
        if time.monotonic() >= deadline_s:
            sentence = f"cannot listen on {address}: {error.strerror}; stop what uses it, or choose another"
            raise PortInUse(error.errno, sentence) from error
        await asyncio.sleep(_PORT_RETRY_S)


def _bind_error(address: str) -> OSError | None:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
