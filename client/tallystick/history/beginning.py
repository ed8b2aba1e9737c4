"""Where what is kept of a log begins: retention removes the oldest mutations, and leaves the state that they led to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tallystick._values import StateDigest

if TYPE_CHECKING:
    from tallystick._agent import Agent


async def beginning(agent: Agent, *, timeout_s: float | None = None) -> StateDigest | None:
    """The point behind which all mutations of the log are kept; None: all of them are.

    Example:
        first = await beginning(agent)
        chain = Chain() if first is None else Chain(seq=first.seq, head=first.hash)

    Raises:
        NotFound: the agent does not exist.
        Compacted: the log was compacted meanwhile: ask again.
    """
    async with contextlib.aclosing(agent.log(timeout_s=timeout_s)) as log:
        first = await anext(log, None)
    if first is not None:
        return await agent.state_digest(seq=first.seq - 1, timeout_s=timeout_s) if first.seq > 1 else None
    head = await agent.state_digest(
        timeout_s=timeout_s
    )  # a branch has none of its own yet, and its parent lost its own
    return head if head.seq else None
