"""What golden scripts say of branches.

`fork AGENT NAME [at=SEQ] [branch=SOURCE] [key=K] [fp=F]`; `team PREFIX NAME POSITION [branch=SOURCE] [key=K] [fp=F]`;
`drop AGENT branch=NAME [seq=N] [epoch=E] [key=K] [fp=F]`. `time=T` fits each of them.
"""

from __future__ import annotations

from tallystick_node.core.commands import MAIN, BranchCommand, DeleteBranch, Fork, ForkTeam, Idempotency, Target
from tallystick_node.core.outcomes import Forked
from tests.unit.core_tables import MemoryTables

BRANCH_VERBS = {"fork", "team", "drop"}


def branch_command(verb: str, agent: str, words: list[str]) -> BranchCommand:
    options = dict(word.split("=", 1) for word in words if "=" in word)
    rest = [word for word in words if "=" not in word]
    target = Target("demo", agent, options.get("branch", MAIN))
    time_unix_ms = int(options.get("time", "1000"))
    key = options.get("key")
    idempotency = Idempotency(key, options.get("fp", "one").encode()) if key else None
    match verb:
        case "fork":
            at_seq = int(options["at"]) if "at" in options else None
            return Fork(time_unix_ms, target, rest[0], at_seq, idempotency)
        case "team":
            return ForkTeam(time_unix_ms, "demo", agent, rest[0], int(rest[1]), target.branch, idempotency)
        case _:
            expected_seq = int(options["seq"]) if "seq" in options else None
            return DeleteBranch(time_unix_ms, target, idempotency, expected_seq, int(options.get("epoch", "0")))


def show_forked(done: Forked) -> str:
    names = [f"{each.target.agent}/{each.target.branch} at {each.parent} {each.seq}" for each in done.branches]
    text = f"forked {', '.join(names)}, at {done.position}, time {done.branches[-1].time_unix_ms}"
    return text + (" (replayed)" if done.replayed else "")


def show_branches(tables: MemoryTables, agent: str) -> str:
    logs = sorted((log for log in tables.logs.values() if log.target.agent == agent), key=lambda log: log.number)
    names = {log.number: log.target.branch for log in logs}
    shown = [f"{log.target.branch} {log.seq} of {names.get(log.parent)} {log.fork_seq}" for log in logs]
    return "; ".join(f"{text} [{log.checkpoint}]" for text, log in zip(shown, logs, strict=True)) or "none"
