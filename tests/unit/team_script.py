"""What golden scripts say of several agents at once.

`transact AGENT[/BRANCH] [seq=N] [epoch=E] OPERATION ... | AGENT ... [key=K] [fp=F]`: parts are parted by `|`, mutations
by `;`. `cut NAME [PREFIX] [branch=B] [fp=F] [saw=CONTEXT]`; `cut NAME of=AGENT[/BRANCH],...`; `team-cut NAME` shows it,
`uncut NAME [taken=POSITION]` removes it. `time=T` fits each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick_node.core.commands import (
    MAIN,
    DeleteTeamCheckpoint,
    Idempotency,
    Mutation,
    Part,
    SeenContext,
    TakeTeamCheckpoint,
    Target,
    TeamCommand,
    Transact,
)
from tallystick_node.core.outcomes import TeamCheckpointed, Transacted
from tests.unit.core_tables import MemoryTables

TEAM_VERBS = {"transact", "cut", "uncut"}


def team_command(verb: str, words: list[str], mutations: Callable[[list[str]], tuple[Mutation, ...]]) -> TeamCommand:
    options = dict(word.split("=", 1) for word in words if "=" in word.split(":", 1)[0])
    rest = [word for word in words if "=" not in word.split(":", 1)[0]]
    time_unix_ms = int(options.get("time", "1000"))
    fingerprint = options.get("fp", "one").encode()
    if verb == "transact":
        key = Idempotency(options["key"], fingerprint) if "key" in options else None
        parts = " ".join(word for word in words if not word.startswith(("key=", "fp=", "time="))).split(" | ")
        return Transact(time_unix_ms, tuple(_part(part.split(" "), mutations) for part in parts), key, "me")
    if verb == "uncut":
        return DeleteTeamCheckpoint(time_unix_ms, "demo", rest[0], int(options.get("taken", "0")), "me")
    members = tuple(_target(name) for name in options["of"].split(",")) if "of" in options else ()
    seen = (SeenContext(options["saw"], b"cursor"),) if "saw" in options else ()
    prefix = rest[1] if len(rest) > 1 else ""
    branch = options.get("branch", MAIN)
    return TakeTeamCheckpoint(time_unix_ms, "demo", rest[0], fingerprint, members, prefix, branch, seen, actor="me")


def show_transacted(done: Transacted) -> str:
    parts = [f"{part.first_seq}..{part.last_seq} at {part.position}" for part in done.parts]
    text = f"transacted {', '.join(parts)}; time {max(part.time_unix_ms for part in done.parts)}"
    return text + (" (replayed)" if done.replayed else "")


def show_cut(done: TeamCheckpointed) -> str:
    return f"cut {done.record.name}, at {done.position}" + (" (replayed)" if done.replayed else "")


def show_team(tables: MemoryTables, name: str) -> str:
    record = tables.teams.checkpoint("demo", name)
    if record is None:
        return "no cut"
    members = [f"{each.agent}/{each.branch} at {each.seq}" for each in record.members]
    seen = "".join(f", saw {each.name}" for each in record.contexts)
    of = "listed" if record.prefix is None else f"prefix {record.prefix!r} of {record.branch}"
    return f"{record.name}: {', '.join(members)}{seen}; {of}, time {record.time_unix_ms}"


def _part(words: list[str], mutations: Callable[[list[str]], tuple[Mutation, ...]]) -> Part:
    options = dict(word.split("=", 1) for word in words if word.startswith(("seq=", "epoch=")))
    name, *operations = [word for word in words if not word.startswith(("seq=", "epoch="))]
    expected_seq = int(options["seq"]) if "seq" in options else None
    return Part(_target(name), mutations(operations), expected_seq, int(options.get("epoch", "0")))


def _target(name: str) -> Target:
    agent, _, branch = name.partition("/")
    return Target("demo", agent, branch or MAIN)
