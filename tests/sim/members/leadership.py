"""Who was removed deposes no leader that works either: `tests.sim.leadership` where the members change.

What counts is a majority of the voters, by the leader's own log. A leader that hands over is not well for that moment.
"""

from __future__ import annotations

from tests.sim.leadership import Leadership


class MembersLeadership(Leadership):
    """See the module."""

    def _is_majority(self, leader: str, followers: frozenset[str]) -> bool:
        node = self._nodes[leader]
        return node.is_up and node.replica.members.is_majority((leader, *followers))
