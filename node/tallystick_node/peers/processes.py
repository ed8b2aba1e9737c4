"""Which process of each peer is believed: the newest one on the data folder that was seen first.

Rules of this file:
- What comes late from a process that is gone (an older incarnation) is refused.
- A member that comes with another data folder is refused until it was removed and added again: it does not know what
  it voted and acknowledged on the other, and could help to decide otherwise. It is a guard against mistakes, not a
  proof: it begins anew with each start of this node.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import Caller
from tallystick_node.peers.refusals import Refused


class Processes:
    """What was seen of each member: no more of them than there are members."""

    def __init__(self) -> None:
        self._newest: dict[str, Caller] = {}

    def admit(self, caller: Caller) -> Refused | None:
        """Remember this process as the newest of its node, or say why it is refused."""
        newest = self._newest.get(caller.node_id)
        if newest is not None:
            refused = _compare(caller, newest)
            if refused is not None:
                return refused
            caller = replace(caller, data_id=caller.data_id or newest.data_id)
        self._newest[caller.node_id] = caller
        return None

    def forget_all(self) -> None:
        """Believe whoever comes next."""
        self._newest.clear()

    def keep(self, member_ids: Collection[str]) -> None:
        """Forget those who are no members: added again, they begin on a new folder."""
        self._newest = {node_id: caller for node_id, caller in self._newest.items() if node_id in member_ids}


def _compare(caller: Caller, newest: Caller) -> Refused | None:
    if caller.data_id and newest.data_id and caller.data_id != newest.data_id:
        return Refused(
            Refusal.OTHER_DATA_FOLDER,
            f"Node {caller.node_id} comes with another data folder than before, and does not know what it acknowledged:"
            " remove it from the members and add it again.",
        )
    if caller.incarnation < newest.incarnation:
        return Refused(
            Refusal.OLD_INCARNATION,
            f"Incarnation {caller.incarnation} of node {caller.node_id} is gone: {newest.incarnation} was here.",
        )
    return None
