"""A leader hands its leadership over, so that nobody waits for an election (Ongaro's thesis, 3.10).

It stops proposing (what comes meanwhile waits, and is forwarded to the next leader), lets the chosen voter catch up,
and asks it to call an election at once. If nothing comes of it in time, it goes on leading.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Handover:
    """One attempt.

    Attributes:
        to_node_id: the voter that shall lead; None: whoever has most of the log.
        deadline_s: then the attempt is over.
        asked_s: when the voter was asked last.
    """

    to_node_id: str | None
    deadline_s: float
    asked_s: float = float("-inf")

    def successor(self, matching: dict[str, int], last_index: int) -> str | None:
        """Who is to be asked now: the one chosen, if it has the whole log.

        `matching` is up to where each voter in reach has the log on disk.
        """
        chosen = self.to_node_id or max(matching, key=lambda node_id: (matching[node_id], node_id), default=None)
        if chosen is None or matching.get(chosen, -1) < last_index:
            return None
        return chosen
