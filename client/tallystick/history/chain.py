"""Follows the hash chain of a log: whoever changes a byte of the past must change every hash after it.

The hash of a mutation is SHA-256 over: its predecessor's hash (nothing at seq 1), seq (u64), time in ms (u64), the
length of the actor (u32), the actor in UTF-8, and the mutation's bytes as they were decided; numbers big-endian. The
nodes have it in a file of their own: who checks them shares no code with them.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from tallystick._values import DecidedMutation
from tallystick.errors import Corrupt

_HEAD: Final = struct.Struct(">QQI")


class Chain:
    """Where a walk along a log has come to.

    Example:
        first = await beginning(agent)
        chain = Chain() if first is None else Chain(seq=first.seq, head=first.hash)
        async for mutation in agent.log(raw=True):
            chain.follow(mutation)
        assert chain.head == (await agent.state_digest()).hash

    Attributes:
        seq, head: of the last mutation that was followed; 0 and b"" before the first.
    """

    def __init__(self, *, seq: int = 0, head: bytes = b"") -> None:
        self.seq = seq
        self.head = head

    def follow(self, mutation: DecidedMutation) -> None:
        """Goes on by one mutation, which has its `raw` bytes.

        Raises:
            Corrupt: it is not the one that was decided after the last; the seq is in the metadata.
        """
        actor = mutation.actor.encode()
        if mutation.seq != self.seq + 1:
            raise _broken(mutation.seq, f"seq {self.seq + 1} is missing")
        head = _HEAD.pack(mutation.seq, mutation.time_unix_ms, len(actor))
        found = hashlib.sha256(b"".join((self.head, head, actor, mutation.raw))).digest()
        if found != mutation.hash:
            raise _broken(mutation.seq, "the hash chain breaks here")
        self.seq, self.head = mutation.seq, found


def _broken(seq: int, why: str) -> Corrupt:
    return Corrupt(f"{why}: the mutation at seq {seq} is not what was decided", metadata={"seq": str(seq)})
