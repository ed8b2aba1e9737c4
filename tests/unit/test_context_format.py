"""What is written today reads tomorrow: commands on contexts, their events and the digest over them, as bytes.

A difference here is a new format of the log: nodes that apply it and nodes that applied the old one differ for good.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick_node.core.commands import (
    AllocateWriters,
    ContextCommand,
    CreateContext,
    DeleteContext,
    SaveVersion,
    SealContext,
    StartEpoch,
    Target,
)
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command

GUID = bytes(range(16))
HISTORY: list[tuple[ContextCommand, str]] = [
    (
        CreateContext(7, "demo", "plan", GUID, b"{}", b"seed", "me"),
        "0807322c0a0464656d6f1204706c616e1a10000102030405060708090a0b0c0d0e0f22026d652a027b7d320473656564",
    ),
    (
        AllocateWriters(8, "demo", 16, "me"),
        "0808420c0a0464656d6f12026d651810",
    ),
    (
        SealContext(9, GUID, 1, "me"),
        "08094a180a10000102030405060708090a0b0c0d0e0f10011a026d65",
    ),
    (
        StartEpoch(10, GUID, 2, 3, b"", "me"),
        "080a521a0a10000102030405060708090a0b0c0d0e0f100222026d652803",
    ),
    (
        SealContext(11, GUID, 1, "me"),
        "080b4a180a10000102030405060708090a0b0c0d0e0f10011a026d65",
    ),
    (
        StartEpoch(12, GUID, 2, 5, b"base", "me"),
        "080c52200a10000102030405060708090a0b0c0d0e0f10021a046261736522026d652805",
    ),
    (
        SaveVersion(13, GUID, 2, "v1", b"cursor", b"content", Target("demo", "a"), "c1", "me"),
        (
            "080d5a420a10000102030405060708090a0b0c0d0e0f10021a0276312206637572736f722a07636f6e74656e7432026d"
            "653a0f0a0464656d6f1201611a046d61696e42026331"
        ),
    ),
    (
        SaveVersion(14, GUID, 2, "v2", b"cursor", b"content"),
        "080e5a290a10000102030405060708090a0b0c0d0e0f10021a0276322206637572736f722a07636f6e74656e74",
    ),
    (
        DeleteContext(15, "demo", "plan", GUID, "me"),
        "080f3a220a0464656d6f1204706c616e1a10000102030405060708090a0b0c0d0e0f22026d65",
    ),
]
"""Each command, and its bytes."""
DIGEST = "cb3c26b6a82f7e9da812f2c35f040680d63b8db4276280fe7eb45520973d0820"
"""The running digest of the state machine after all of them, each in an entry of its own from index 1 on."""


@pytest.mark.parametrize(("command", "written"), HISTORY, ids=lambda each: type(each).__name__)
def test_a_command_is_these_bytes(command: ContextCommand, written: str) -> None:
    assert encode_command(command).hex() == written
    assert decode_commands(bytes.fromhex(written)) == [command]


def test_the_digest_of_a_history(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    for index, (_, written) in enumerate(HISTORY, start=1):
        ((applied,),) = database.apply([(index, 1, decode_commands(bytes.fromhex(written)), None)])
        assert len(applied.events) == 1
    assert database.digest.hex() == DIGEST
    database.close()
