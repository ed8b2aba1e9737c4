"""Working while cut off, and coming home: `agent.outbox(...)`. DESIGN.md says why it is as it is."""

from tallystick.outbox.entries import Entry, Fate, ReconcileReport, Settled
from tallystick.outbox.outbox import Outbox, Written

__all__ = ["Entry", "Fate", "Outbox", "ReconcileReport", "Settled", "Written"]
