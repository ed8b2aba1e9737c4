"""What is decided of leases: (tables, command) -> (outcome, events). And who may write a log.

Rules of this file:
- A lease is of a name. Its record outlives its end and the agent's: an epoch is used once, for ever.
- No clock is compared here. The leader counts a lease's time, and what it proposes at the end names the mark that it
  counted from: a renewal that came in between wins.
- What is repeated is told apart by what it names, and answered as the first time.
- Time within a lease never falls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from tallystick.errors import Conflict, QuotaExceeded, Reason, StaleOwner
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AcquireLease,
    DeleteAgent,
    DeleteBranch,
    ExpireLease,
    LeaseCommand,
    ReleaseLease,
    RenewLease,
    Target,
)
from tallystick_node.core.outcomes import Applied, LeaseChange, LeaseChanged, LeaseDecided, LeaseRecord
from tallystick_node.core.tables import Tables

NO_LEASE: Final = 0
"""The epoch of who writes without a lease."""


def decide(tables: Tables, command: LeaseCommand) -> Applied:
    """Decide one command on leases.

    Raises:
        Refused: decided: no. Nothing was changed.
    """
    match command:
        case AcquireLease():
            return _acquire(tables, command)
        case RenewLease():
            return _renew(tables, command)
        case ReleaseLease():
            return _release(tables, command)
        case ExpireLease():
            return _expire(tables, command)
    assert_never(command)


def check_epoch(tables: Tables, target: Target, epoch: int) -> None:
    """Whether who writes under this epoch (0: without a lease) may.

    Raises:
        StaleOwner: another holds the lease, or this epoch has ended.
    """
    lease = tables.leases.lease(target)
    if lease is None or not lease.is_held:
        if epoch != NO_LEASE:
            raise _stale(target, lease, epoch)
    elif lease.epoch != epoch:
        raise _stale(target, lease, epoch)


def end_with_agent(tables: Tables, command: DeleteAgent) -> tuple[LeaseDecided, ...]:
    """End the leases of an agent that is about to be deleted, those of its branches too."""
    held = tables.leases.held_of_agent(command.target.namespace, command.target.agent)
    return tuple(_change(tables, lease, LeaseChange.RELEASED, command.time_unix_ms, command.actor)[1] for lease in held)


def end_with_branch(tables: Tables, command: DeleteBranch) -> tuple[LeaseDecided, ...]:
    """The same, of one branch."""
    lease = tables.leases.lease(command.target)
    if lease is None or not lease.is_held:
        return ()
    return (_change(tables, lease, LeaseChange.RELEASED, command.time_unix_ms, command.actor)[1],)


def _acquire(tables: Tables, command: AcquireLease) -> Applied:
    lease = tables.leases.lease(command.target)
    if lease is not None and lease.is_held:
        if lease.holder != command.holder:
            raise _held(tables, lease)
        return _renewed(tables, lease, replayed=True)
    if tables.leases.held_count >= limits.LEASES_HELD:
        raise QuotaExceeded(
            f"{limits.LEASES_HELD} leases are held",
            reason=Reason.LEASE_QUOTA,
            metadata={"limit": str(limits.LEASES_HELD)},
        )
    begun = LeaseRecord(
        target=command.target,
        epoch=lease.epoch + 1 if lease is not None else 1,
        holder=command.holder,
        ttl_ms=command.ttl_ms,
        change=LeaseChange.ACQUIRED,
        mark=0,
        acquired_unix_ms=max(command.time_unix_ms, lease.changed_unix_ms if lease is not None else 0),
        changed_unix_ms=lease.changed_unix_ms if lease is not None else 0,
        position=0,
    )
    return _changed(*_change(tables, begun, LeaseChange.ACQUIRED, command.time_unix_ms, command.actor))


def _renew(tables: Tables, command: RenewLease) -> Applied:
    lease = tables.leases.lease(command.target)
    if lease is None or not lease.is_held or lease.epoch != command.epoch:
        raise _stale(command.target, lease, command.epoch)
    return _renewed(tables, lease)


def _renewed(tables: Tables, lease: LeaseRecord, *, replayed: bool = False) -> Applied:
    lease = replace(lease, mark=lease.mark + 1)
    tables.leases.save(lease)
    return Applied(LeaseChanged(lease.position, lease, replayed))


def _release(tables: Tables, command: ReleaseLease) -> Applied:
    lease = tables.leases.lease(command.target)
    if lease is None or lease.epoch != command.epoch or lease.change is LeaseChange.EXPIRED:
        raise _stale(command.target, lease, command.epoch)
    if not lease.is_held:
        return Applied(LeaseChanged(lease.position, lease, replayed=True))
    return _changed(*_change(tables, lease, LeaseChange.RELEASED, command.time_unix_ms, command.actor))


def _expire(tables: Tables, command: ExpireLease) -> Applied:
    lease = tables.leases.lease(command.target)
    if lease is None:
        raise _stale(command.target, lease, command.epoch)
    if not lease.is_held or (lease.epoch, lease.mark) != (command.epoch, command.mark):
        return Applied(LeaseChanged(lease.position, lease, replayed=True))
    return _changed(*_change(tables, lease, LeaseChange.EXPIRED, command.time_unix_ms, lease.holder))


def _changed(lease: LeaseRecord, event: LeaseDecided) -> Applied:
    return Applied(LeaseChanged(event.position, lease), (event,))


def _change(
    tables: Tables, lease: LeaseRecord, change: LeaseChange, time_unix_ms: int, actor: str
) -> tuple[LeaseRecord, LeaseDecided]:
    """Save the change with its event."""
    lease = replace(
        lease,
        change=change,
        changed_unix_ms=max(lease.changed_unix_ms, time_unix_ms),
        position=tables.position + 1,
    )
    event = LeaseDecided(
        position=lease.position,
        target=lease.target,
        change=change,
        epoch=lease.epoch,
        holder=lease.holder,
        ttl_ms=lease.ttl_ms,
        time_unix_ms=lease.changed_unix_ms,
        actor=actor,
    )
    tables.leases.save(lease)
    tables.add_event(event)
    return lease, event


def _held(tables: Tables, lease: LeaseRecord) -> Conflict:
    """Somebody else has it. `position` is where to watch from for its end."""
    return Conflict(
        f"{lease.holder!r} holds the lease of agent {lease.target.agent!r}, epoch {lease.epoch}",
        reason=Reason.LEASE_HELD,
        metadata={
            "holder": lease.holder,
            "epoch": str(lease.epoch),
            "ttl_ms": str(lease.ttl_ms),
            "position": str(tables.position),
        },
    )


def _stale(target: Target, lease: LeaseRecord | None, epoch: int) -> StaleOwner:
    if lease is None:
        return StaleOwner(f"epoch {epoch}: no lease is held", metadata={"agent": target.agent, "asked": str(epoch)})
    metadata = {"asked": str(epoch), "epoch": str(lease.epoch), "holder": lease.holder}
    with_what = f"epoch {epoch}" if epoch != NO_LEASE else "without a lease"
    if lease.is_held:
        why = f"{lease.holder!r} holds the lease of agent {target.agent!r}, epoch {lease.epoch}"
    else:
        why = f"the lease of agent {target.agent!r} ended with epoch {lease.epoch} ({lease.change.name.lower()})"
    return StaleOwner(f"{with_what}: {why}", metadata=metadata)
