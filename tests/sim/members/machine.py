"""A state machine that also tells the digest of what it applied."""

from __future__ import annotations

import hashlib

from tests.sim.machine import SimMachine


class DigestingMachine(SimMachine):
    """Replicas of it compare themselves."""

    def digest_at(self, index: int) -> bytes | None:
        if index > self.applied_index:
            return None
        digest = hashlib.sha256()
        for entry in self.entries:
            if entry.index <= index:
                digest.update(repr(entry).encode())
        return digest.digest()
