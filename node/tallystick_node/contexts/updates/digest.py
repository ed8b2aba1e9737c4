"""When two replicas of a document are equal: the same ids, the same deletions, of the same document in its epoch.

Equal state vectors are not enough, since deletions do not show in them, and encoded documents are not canonical.
"""

from __future__ import annotations

import hashlib
from typing import Final

from . import deletes as deletions
from . import state_vectors
from .deletes import Deletes
from .state_vectors import StateVector

DIGEST_BYTES: Final = 16


def digest(guid: bytes, epoch: int, vector: StateVector, deletes: Deletes) -> bytes:
    """16 bytes over all that makes replicas equal."""
    made = hashlib.blake2b(digest_size=DIGEST_BYTES, person=b"context")
    made.update(len(guid).to_bytes(8, "big") + guid + epoch.to_bytes(8, "big"))
    made.update(state_vectors.encode(vector))
    made.update(deletions.encode(deletes))
    return made.digest()


def deletes_digest(deletes: Deletes) -> bytes:
    """16 bytes over the deletions."""
    return hashlib.blake2b(deletions.encode(deletes), digest_size=DIGEST_BYTES, person=b"deletes").digest()
