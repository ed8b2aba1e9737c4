"""What a policy lets go of a log, and what of that is held: pure.

Rules of this file:
- Nothing is removed by a plan. What holds mutations is checked again when their removal is decided.
- The newest mutation of a log always stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import Hold, RetentionPolicy


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a log. Its own mutations are those behind `anchor_seq`.

    Attributes:
        anchor_seq: of the newest mutation that went, or where the branch began.
        old_seq: of its newest mutation that is older than the policy allows; 0: none is.
        excess_seq: of its newest mutation that is to go for those behind it to have the size that the policy allows; 0:
            they have.
    """

    target: Target
    anchor_seq: int
    head_seq: int
    old_seq: int = 0
    excess_seq: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What would go of a log: its mutations behind `anchor_seq`, up to `upto_seq`.

    Attributes:
        wanted_seq: up to here the policy alone would remove.
        held: what holds some of that, least first.
    """

    target: Target
    anchor_seq: int
    head_seq: int
    wanted_seq: int
    upto_seq: int
    held: tuple[Hold, ...]

    @property
    def mutations(self) -> int:
        """How many would go."""
        return self.upto_seq - self.anchor_seq


def is_bounded(policy: RetentionPolicy) -> bool:
    """Whether the policy lets anything go."""
    return bool(policy.max_age_s or policy.max_mutations or policy.max_log_bytes)


def wanted_seq(policy: RetentionPolicy, known: Known) -> int:
    """Up to where the policy alone would remove; `anchor_seq`: nothing."""
    counted_seq = known.head_seq - policy.max_mutations if policy.max_mutations else 0
    wanted = max(known.old_seq, known.excess_seq, counted_seq)
    return max(min(wanted, known.head_seq - 1), known.anchor_seq)


def plan(policy: RetentionPolicy, known: Known, holds: Sequence[Hold]) -> Plan:
    """What would go of a log that is held so."""
    wanted = wanted_seq(policy, known)
    held = tuple(sorted((hold for hold in holds if hold.seq < wanted), key=lambda hold: hold.seq))
    upto = max(known.anchor_seq, min([wanted, *(hold.seq for hold in held)]))
    return Plan(known.target, known.anchor_seq, known.head_seq, wanted, upto, held)
