"""Commands on retention: to bytes and back, and what is refused before it is proposed."""

from __future__ import annotations

import pytest

from tallystick.errors import Invalid
from tallystick_node.core import limits
from tallystick_node.core.commands import Command
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint, RetentionPolicy, SetRetention
from tallystick_node.wire.commands import decode_commands, encode_command
from tests.unit.database_support import START_MS, target

BAD = "no name!"
LARGE = limits.RETENTION_MAX + 1


@pytest.mark.parametrize(
    "command",
    [
        SetRetention(START_MS, "demo", RetentionPolicy(1, 2, 3, "cold"), "me"),
        SetRetention(START_MS, "demo", RetentionPolicy()),
        CompactLog(START_MS, target("a", "b1"), 7, b"h" * 32, "keeper"),
        PinCheckpoint(START_MS, target(), "c1", is_pinned=True, actor="me"),
        PinCheckpoint(START_MS, target(), "c1", is_pinned=False),
    ],
)
def test_a_command_comes_back(command: Command) -> None:
    assert decode_commands(encode_command(command)) == [command]


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (SetRetention(START_MS, BAD, RetentionPolicy()), "namespace"),
        (SetRetention(START_MS, "demo", RetentionPolicy(max_age_s=LARGE)), "max_age_s"),
        (SetRetention(START_MS, "demo", RetentionPolicy(max_mutations=LARGE)), "max_mutations"),
        (SetRetention(START_MS, "demo", RetentionPolicy(max_log_bytes=LARGE)), "max_log_bytes"),
        (SetRetention(START_MS, "demo", RetentionPolicy(archive=BAD)), "archive"),
        (SetRetention(START_MS, "demo", RetentionPolicy(), "x" * 201), "actor"),
        (CompactLog(START_MS, target(BAD), 7, b"h" * 32), "agent"),
        (CompactLog(START_MS, target(), 0, b""), "below_seq"),
        (CompactLog(START_MS, target(), 7, b"h"), "below_seq"),
        (PinCheckpoint(START_MS, target(), BAD, is_pinned=True), "name"),
    ],
)
def test_what_breaks_a_rule_is_not_proposed(command: Command, field: str) -> None:
    with pytest.raises(Invalid) as error:
        encode_command(command)
    assert error.value.metadata["field"] == field
