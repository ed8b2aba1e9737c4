"""What golden scripts of the state machine say of leases: see `test_core_scripts.py`."""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import AcquireLease, ExpireLease, LeaseCommand, ReleaseLease, RenewLease, Target
from tallystick_node.core.outcomes import LeaseChanged, LeaseRecord
from tests.unit.core_tables import MemoryTables

LEASE_VERBS: Final = {"acquire", "renew", "release", "expire"}


def lease_command(verb: str, words: list[str]) -> LeaseCommand:
    """`acquire AGENT HOLDER [ttl=MS]`, `renew AGENT EPOCH`, `release AGENT EPOCH`, `expire AGENT EPOCH MARK`."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    agent, *rest = [word for word in words if "=" not in word]
    target = Target("demo", agent, options.get("branch", "main"))
    time_unix_ms = int(options.get("time", "1000"))
    match verb:
        case "acquire":
            return AcquireLease(time_unix_ms, target, rest[0], int(options.get("ttl", "5000")), "me")
        case "renew":
            return RenewLease(time_unix_ms, target, int(rest[0]))
        case "release":
            return ReleaseLease(time_unix_ms, target, int(rest[0]), "me")
        case _:
            return ExpireLease(time_unix_ms, target, int(rest[0]), int(rest[1]))


def show_changed(done: LeaseChanged) -> str:
    return f"{_text(done.record)}, at {done.position}" + (" (replayed)" if done.replayed else "")


def show_lease(tables: MemoryTables, agent: str) -> str:
    record = tables.leases.lease(Target("demo", agent))
    return _text(record) if record is not None else "no lease"


def _text(record: LeaseRecord) -> str:
    when = f"ttl {record.ttl_ms}, mark {record.mark}, times {record.acquired_unix_ms} {record.changed_unix_ms}"
    return f"epoch {record.epoch} of {record.holder} {record.change.name.lower()}, {when}"
