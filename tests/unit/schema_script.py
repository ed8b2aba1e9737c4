"""What golden scripts of the state machine say of schemas: see `test_core_scripts.py`.

`register SUBJECT VERSION DOCUMENT [ns=NAMESPACE] [by=none]`, a subject as `event:KIND` or `state:PREFIX`; `schemas
NAMESPACE`; `versions AGENT [branch=NAME]`. An append in a namespace with schemas says `schemas=POSITION|now`, and
`head=SEQ|none` for the head that it was checked on; `v=N` is the version that all its mutations name.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.schema_records import Compatibility, RegisterSchema, SchemaKept, SchemaOf, Subject
from tests.unit.core_tables import MemoryTables

SCHEMA_VERBS: Final = {"register"}


def schema_command(words: list[str]) -> RegisterSchema:
    options = dict(word.split("=", 1) for word in words if "=" in word)
    subject, version, document = [word for word in words if "=" not in word]
    of, name = subject.split(":", 1)
    return RegisterSchema(
        int(options.get("time", "1000")),
        options.get("ns", "demo"),
        Subject(SchemaOf[of.upper()], name),
        int(version),
        document.encode(),
        Compatibility[options.get("by", "backward").upper()],
        "me",
    )


def checked_head(tables: MemoryTables, target: Target, word: str | None) -> bytes | None:
    """The hash of the log's mutation that `head=` names; another one where the log has none."""
    log = tables.log(target)
    if word is None:
        return None
    if word == "none" or log is None:
        return b""
    return tables.branches.hash_at(log, int(word)) or b"another"


def show_kept(done: SchemaKept) -> str:
    record = done.record
    text = f"version {record.version} of {str(record.subject)!r}, {record.document.decode()}, at {done.position}"
    return text + (" (replayed)" if done.replayed else "")


def show_schemas(tables: MemoryTables, namespace: str) -> str:
    records = [each for each in tables.schemas.records if each.namespace == namespace]
    return "; ".join(f"{each.subject} {each.version}" for each in records) or "none"


def show_versions(tables: MemoryTables, agent: str, branch: str = MAIN) -> str:
    log = tables.log(Target("demo", agent, branch))
    if log is None:
        return "no agent"
    present = tables.schemas.state_version(log)
    return f"{present.version} of 'state of {present.prefix}'" if present is not None else "none"
