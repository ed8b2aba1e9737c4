"""Where two branches of an agent parted.

Rules of this file: pure; branches as `Agent.branches` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick._infos import BranchInfo
from tallystick.errors import Corrupt, NotFound, Reason

MAX_DEPTH: Final = 1000
"""Steps up a lineage that are followed; nodes allow far fewer."""


@dataclass(frozen=True, slots=True)
class Parting:
    """The last point that two branches share: after mutation `seq` of `branch`."""

    branch: str
    seq: int


def parting(branches: Mapping[str, BranchInfo], one: str, other: str) -> Parting:
    """Where the branches parted; for one that began at the other, where it began.

    Raises:
        NotFound: `BRANCH_NOT_FOUND`.
        Corrupt: the branches are of no one lineage.
    """
    above = lineage(branches, one)
    for branch, seq in lineage(branches, other).items():
        if branch in above:
            return Parting(branch, min(seq, above[branch]))
    raise Corrupt(f"the branches {one!r} and {other!r} share no past")


def lineage(branches: Mapping[str, BranchInfo], branch: str) -> dict[str, int]:
    """The branch and those that it came from, each with the seq up to which it is a part of it; nearest first."""
    found: dict[str, int] = {}
    seq: int | None = None
    for _ in range(MAX_DEPTH):
        info = branches.get(branch)
        if info is None:
            raise NotFound(
                f"there is no branch {branch!r}", reason=Reason.BRANCH_NOT_FOUND, metadata={"branch": branch}
            )
        seq = info.seq if seq is None else min(seq, info.seq)
        found[branch] = seq
        if not info.parent:
            return found
        branch, seq = info.parent, min(seq, info.fork_seq)
    raise Corrupt(f"the lineage of a branch is longer than {MAX_DEPTH}")
