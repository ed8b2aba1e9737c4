"""What tests of the database share: short ways to write commands, and to see all that a database holds."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from tallystick.v1 import state_pb2
from tallystick_node.core.commands import (
    MAIN,
    AgentCommand,
    Append,
    Checkpoint,
    Command,
    DeleteAgent,
    Idempotency,
    Operation,
    OperationKind,
    Target,
)
from tallystick_node.core.outcomes import Applied
from tallystick_node.core.pointer import format_pointer
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command, fingerprint
from tallystick_node.wire.mutations import admit_mutations

START_MS = 1_700_000_000_000


def target(agent: str = "a", branch: str = MAIN) -> Target:
    return Target("demo", agent, branch)


def set_op(path: str, value: str) -> Operation:
    return Operation(OperationKind.SET, tuple(path.split("/")[1:]), value.encode())


def append(
    *mutations: list[Operation],
    agent: str = "a",
    branch: str = MAIN,
    key: str | None = None,
    expected_seq: int | None = None,
    time_ms: int = START_MS,
) -> Append:
    """An append of mutations that went over the wire; each is its operations."""
    messages = [
        state_pb2.Mutation(
            operations=[
                state_pb2.Operation(kind=int(each.kind), path=format_pointer(each.tokens), value=each.value)  # type: ignore[arg-type]
                for each in operations
            ]
        )
        for operations in mutations
    ]
    command = Append(time_ms, target(agent, branch), admit_mutations(messages), None, expected_seq, actor="tester")
    keyed = _keyed(command, key)
    assert isinstance(keyed, Append)
    return keyed


def checkpoint(
    name: str, *, agent: str = "a", branch: str = MAIN, key: str | None = None, metadata: bytes = b"{}"
) -> AgentCommand:
    command = Checkpoint(START_MS, target(agent, branch), name, step=7, metadata=metadata, pending_calls=b"[]")
    return _keyed(command, key)


def delete_agent(agent: str = "a", *, key: str | None = None) -> AgentCommand:
    return _keyed(DeleteAgent(START_MS, target(agent)), key)


def apply_each(database: Database, *commands: Command) -> list[Applied]:
    """Each command in an entry and a transaction of its own."""
    return [database.apply([(database.applied_index + 1, 1, [command], None)])[0][0] for command in commands]


def rows_digest(path: Path) -> dict[str, str]:
    """A digest of the contents of each table, read by a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: _table_digest(connection, name) for name in names}


def _table_digest(connection: sqlite3.Connection, name: str) -> str:
    rows = sorted(repr(row) for row in connection.execute(f"SELECT * FROM {name}"))  # noqa: S608
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _keyed(command: AgentCommand, key: str | None) -> AgentCommand:
    if key is None:
        return _decoded(command)
    keyed = type(command)(
        **{name: getattr(command, name) for name in command.__slots__ if name != "idempotency"},
        idempotency=Idempotency(key, fingerprint(command)),
    )
    return _decoded(keyed)


def _decoded(command: AgentCommand) -> AgentCommand:
    (decoded,) = decode_commands(encode_command(command))
    assert isinstance(decoded, Append | Checkpoint | DeleteAgent)
    return decoded
