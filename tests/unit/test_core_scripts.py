"""Golden scripts of the state machine: `tests/scripts/core/*.txt`.

A block is comments and commands, `---`, and what came of them; blocks are parted by an empty line. Regenerate with
`TALLYSTICK_GOLDEN=write pytest tests/unit/test_core_scripts.py`, and commit only a difference that you understand.

Commands: `append AGENT [key=K] [fp=F] [seq=N] [epoch=E] [time=T] [branch=B] OPERATION ...` where an operation is
`set:/path:json` and `;` begins the next mutation; `checkpoint AGENT NAME [...]`; `delete AGENT [...]`; `state AGENT`.
Of steps: `begin AGENT STEP [retry=ATTEMPT]`; `complete AGENT STEP ATTEMPT RESULT`; `fail AGENT STEP ATTEMPT ERROR`;
`turn AGENT [abandons=SEQ]`; `endturn AGENT SEQ`; each with options as an append.
Of contexts: `create NAME guid=G [seed=S] [schema=S]`; `remove NAME [guid=G]`; `writers ACTOR COUNT`; `seal G EPOCH`;
`epoch G EPOCH seal=POSITION [base=B]`; `version G EPOCH NAME CONTENT`; `context NAME`. `time=T` and `ns=NAMESPACE` fit
each of them. Of leases: see `lease_script.py`, and `lease AGENT`. Of several agents: see `team_script.py`.
Of retention: see `retention_script.py`.
Of schemas: see `schema_script.py`.
Of branches: see `branch_script.py`, and `branches AGENT`; `state AGENT branch=NAME`.
Of payloads: see `payload_script.py`, and `payloads -`.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick_node.core.commands import (
    MAIN,
    AllocateWriters,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    Command,
    ContextCommand,
    CreateContext,
    DeleteAgent,
    DeleteContext,
    EndStep,
    EndTurn,
    Idempotency,
    Mutation,
    Operation,
    OperationKind,
    SaveVersion,
    SealContext,
    StartEpoch,
    StepCommand,
    Target,
    Transact,
)
from tallystick_node.core.limits import FIRST_WRITER
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import (
    Appended,
    Applied,
    Checkpointed,
    ContextChanged,
    ContextDeleted,
    ContextRecord,
    Deleted,
    Forked,
    LeaseChanged,
    Refusal,
    StepDecided,
    TeamCheckpointed,
    TeamCheckpointGone,
    Transacted,
    TurnDecided,
    VersionSaved,
    WritersGiven,
)
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.payload_records import ChunksStored, Collected, PayloadStored
from tallystick_node.core.pointer import parse_pointer
from tallystick_node.core.retention_records import Compacted, PinChanged, RetentionChanged
from tallystick_node.core.schema_records import SchemaKept
from tallystick_node.core.values import canonical_json, json_size
from tests.unit.branch_script import BRANCH_VERBS, branch_command, show_branches, show_forked
from tests.unit.core_tables import MemoryTables
from tests.unit.lease_script import LEASE_VERBS, lease_command, show_changed, show_lease
from tests.unit.payload_script import PAYLOAD_VERBS, payload_command, payload_of, show_payloads, show_stored
from tests.unit.retention_script import RETENTION_VERBS, retention_command, show_retention
from tests.unit.schema_script import SCHEMA_VERBS, checked_head, schema_command, show_kept, show_schemas, show_versions
from tests.unit.team_script import TEAM_VERBS, show_cut, show_team, show_transacted, team_command

SCRIPTS = sorted((Path(__file__).parent.parent / "scripts" / "core").glob("*.txt"))

STEP_VERBS = {"begin", "complete", "fail", "turn", "endturn"}
CONTEXT_VERBS = {"create", "remove", "writers", "seal", "epoch", "version"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    wanted = script.read_text()
    found = _run(wanted)
    if os.environ.get("TALLYSTICK_GOLDEN") == "write":
        script.write_text(found)
        wanted = found
    assert found == wanted


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 4


def _run(text: str) -> str:
    tables = MemoryTables()
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return "\n\n".join(_run_block(tables, block.split("\n---")[0]) for block in blocks) + "\n"


def _run_block(tables: MemoryTables, commands: str) -> str:
    trace = [_run_line(tables, line) for line in commands.splitlines() if line and not line.startswith("#")]
    return "\n".join([commands, "---", *trace])


def _run_line(tables: MemoryTables, line: str) -> str:
    verb, agent, *words = line.split(" ")
    if verb == "state":
        return _show_state(tables, agent, *(word.removeprefix("branch=") for word in words))
    if verb == "branches":
        return show_branches(tables, agent)
    if verb == "team-cut":
        return show_team(tables, agent)
    if verb in TEAM_VERBS:
        return _run_team_line(tables, verb, [agent, *words])
    if verb == "context":
        return _show_context(tables, agent, words)
    if verb == "lease":
        return show_lease(tables, agent)
    if verb == "schemas":
        return show_schemas(tables, agent)
    if verb == "versions":
        return show_versions(tables, agent, *(word.removeprefix("branch=") for word in words))
    if verb in SCHEMA_VERBS:
        return _run_schema_line(tables, [agent, *words])
    if verb in LEASE_VERBS:
        return _run_lease_line(tables, verb, [agent, *words])
    if verb == "payloads":
        return show_payloads(tables)
    if verb in PAYLOAD_VERBS:
        return _run_payload_line(tables, verb, [agent, *words])
    if verb in RETENTION_VERBS:
        return _run_retention_line(tables, verb, [agent, *words])
    if verb in CONTEXT_VERBS:
        return _run_context_line(tables, verb, [agent, *words])
    before = _show_state(tables, agent), _decided(tables)
    command = branch_command(verb, agent, words) if verb in BRANCH_VERBS else _command(verb, agent, words)
    if isinstance(command, Append):
        command = _said_checked(tables, command, words)
        tables.operations.update((mutation.raw, mutation.operations) for mutation in command.mutations)
    applied = apply(tables, command)
    if isinstance(applied.outcome, Refusal):
        assert (_show_state(tables, agent), _decided(tables)) == before
        assert applied.events == ()
    return _show(applied)


def _run_team_line(tables: MemoryTables, verb: str, words: list[str]) -> str:
    names = sorted(target.agent for target in tables.logs)
    before = [_show_state(tables, name) for name in names], _decided(tables), dict(tables.teams.records)
    command = team_command(verb, words, _mutations)
    if isinstance(command, Transact):
        mutations = [mutation for part in command.parts for mutation in part.mutations]
        tables.operations.update((mutation.raw, mutation.operations) for mutation in mutations)
    applied = apply(tables, command)
    if isinstance(applied.outcome, Refusal):
        after = [_show_state(tables, name) for name in names], _decided(tables), dict(tables.teams.records)
        assert (after, applied.events) == (before, ())
    return _show(applied)


def _decided(tables: MemoryTables) -> object:
    return dict(tables.logs), len(tables.events), dict(tables.steps.attempts), dict(tables.steps.turns)


def _run_context_line(tables: MemoryTables, verb: str, words: list[str]) -> str:
    before = copy.deepcopy(vars(tables.contexts))
    applied = apply(tables, _context_command(verb, words))
    if isinstance(applied.outcome, Refusal):
        assert vars(tables.contexts) == before
        assert applied.events == ()
    return _show(applied)


def _run_lease_line(tables: MemoryTables, verb: str, words: list[str]) -> str:
    before = dict(tables.leases.records)
    applied = apply(tables, lease_command(verb, words))
    if isinstance(applied.outcome, Refusal):
        assert tables.leases.records == before
        assert applied.events == ()
    return _show(applied)


def _run_payload_line(tables: MemoryTables, verb: str, words: list[str]) -> str:
    before = copy.deepcopy(vars(tables.payloads))
    applied = apply(tables, payload_command(verb, words))
    if isinstance(applied.outcome, Refusal):
        assert (vars(tables.payloads), applied.events) == (before, ())
    return _show(applied)


def _run_retention_line(tables: MemoryTables, verb: str, words: list[str]) -> str:
    kept = tables.retention
    before = _decided(tables), dict(kept.anchors), dict(kept.kept), set(kept.pins), dict(kept.policies)
    applied = apply(tables, retention_command(tables, verb, words))
    if not applied.events:
        assert (_decided(tables), kept.anchors, kept.kept, kept.pins, kept.policies) == before
    return _show(applied)


def _run_schema_line(tables: MemoryTables, words: list[str]) -> str:
    before = list(tables.schemas.records)
    applied = apply(tables, schema_command(words))
    if isinstance(applied.outcome, Refusal):
        assert tables.schemas.records == before
        assert applied.events == ()
    return _show(applied)


def _context_command(verb: str, words: list[str]) -> ContextCommand:
    options = dict(word.split("=", 1) for word in words if "=" in word)
    first, *rest = [word for word in words if "=" not in word]
    time_unix_ms, namespace = int(options.get("time", "1000")), options.get("ns", "demo")
    guid = options.get("guid", first).encode()
    match verb:
        case "create":
            seed, schema = options.get("seed", "").encode(), options.get("schema", "").encode()
            return CreateContext(time_unix_ms, namespace, first, guid, schema, seed, "me")
        case "remove":
            return DeleteContext(time_unix_ms, namespace, first, options.get("guid", "").encode(), "me")
        case "writers":
            return AllocateWriters(time_unix_ms, namespace, int(rest[0]), first)
        case "seal":
            return SealContext(time_unix_ms, guid, int(rest[0]), "me")
        case "epoch":
            base = options.get("base", "").encode()
            return StartEpoch(time_unix_ms, guid, int(rest[0]), int(options["seal"]), base, "me")
        case _:
            content = rest[2].encode()
            return SaveVersion(time_unix_ms, guid, int(rest[0]), rest[1], b"cursor", content, Target("demo", "a"))


def _command(verb: str, agent: str, words: list[str]) -> Command:
    options = dict(word.split("=", 1) for word in words if _is_option(word))
    rest = [word for word in words if not _is_option(word)]
    target = Target("demo", agent, options.get("branch", "main"))
    time_unix_ms = int(options.get("time", "1000"))
    key = options.get("key")
    idempotency = Idempotency(key, options.get("fp", "one").encode()) if key else None
    expected_seq = int(options["seq"]) if "seq" in options else None
    epoch = int(options.get("epoch", "0"))
    if verb in STEP_VERBS:
        named = int(options.get("retry", options.get("abandons", "0")))
        return _step_command(verb, Append(time_unix_ms, target, (), idempotency, epoch=epoch), rest, named)
    if verb == "append":
        return Append(time_unix_ms, target, _mutations(rest), idempotency, expected_seq, epoch)
    if verb == "checkpoint":
        return Checkpoint(
            time_unix_ms, target, rest[0], idempotency=idempotency, expected_seq=expected_seq, epoch=epoch
        )
    assert verb == "delete", verb
    return DeleteAgent(time_unix_ms, target, idempotency, expected_seq, epoch=epoch)


def _step_command(verb: str, common: Append, words: list[str], named: int) -> StepCommand:
    """`named`: the attempt or the turn that it follows. `common`: what all of them have."""
    mutation = Mutation(" ".join([verb, *words]).encode(), ())
    time_unix_ms, target, key, epoch = common.time_unix_ms, common.target, common.idempotency, common.epoch
    match verb:
        case "begin":
            return BeginStep(time_unix_ms, target, words[0], named, mutation, key, epoch, "me")
        case "complete" | "fail":
            has_failed = verb == "fail"
            return EndStep(time_unix_ms, target, words[0], int(words[1]), has_failed, mutation, key, epoch, "me")
        case "turn":
            return BeginTurn(time_unix_ms, target, named, mutation, key, epoch, "me")
        case _:
            return EndTurn(time_unix_ms, target, int(words[0]), mutation, key, epoch, "me")


def _said_checked(tables: MemoryTables, command: Append, words: list[str]) -> Append:
    options = dict(word.split("=", 1) for word in words if _is_option(word))
    head = checked_head(tables, command.target, options.get("head"))
    version = int(options.get("v", "0"))
    mutations = tuple(mutation._replace(schema_version=version) for mutation in command.mutations)
    said = options.get("schemas", "0")
    schemas = tables.schemas.position("demo") if said == "now" else int(said)
    return replace(command, mutations=mutations, schemas=schemas, head=head)


def _is_option(word: str) -> bool:
    return word.split("=", 1)[0] in {
        "key",
        "fp",
        "seq",
        "epoch",
        "time",
        "branch",
        "retry",
        "abandons",
        "schemas",
        "head",
        "v",
    }


def _mutations(words: list[str]) -> tuple[Mutation, ...]:
    if not words:
        return ()
    groups: list[list[Operation]] = [[]]
    for word in words:
        if word == ";":
            groups.append([])
        elif word != "custom":
            kind, path, value = payload_of(word).split(":", 2)
            groups[-1].append(Operation(OperationKind[kind.upper()], parse_pointer(path), value.encode()))
    return tuple(
        Mutation(repr(group).encode(), tuple(group), payloads_named(*[each.value for each in group]))
        for group in groups
    )


def _show(applied: Applied) -> str:
    match applied.outcome:
        case Appended() as done:
            text = f"appended {done.first_seq}..{done.last_seq} at {done.position}, time {done.time_unix_ms}"
            return text + (" (replayed)" if done.replayed else "")
        case Checkpointed() as done:
            taken = done.checkpoint
            text = f"checkpoint {taken.name} of {taken.seq} at {done.position}, time {taken.time_unix_ms}"
            return text + (" (replayed)" if done.replayed else "")
        case Deleted() as done:
            return f"deleted, ended at {done.last_seq}, at {done.position}" + (" (replayed)" if done.replayed else "")
        case StepDecided() as done:
            record, granted = done.record, ", granted" if done.is_granted else ""
            ended = f" with {done.end.raw.decode()!r}" if done.end is not None else ""
            text = f"{record.name} attempt {record.attempt} {record.status.name.lower()}{ended}{granted}"
            text += f", effect of {record.first_position}, at {done.position}"
            return text + (" (replayed)" if done.replayed else "")
        case TurnDecided() as done:
            return f"turn {done.turn}: seq {done.seq} at {done.position}" + (" (replayed)" if done.replayed else "")
        case Forked() as done:
            return show_forked(done)
        case Transacted() as done:
            return show_transacted(done)
        case TeamCheckpointed() as done:
            return show_cut(done)
        case TeamCheckpointGone() as done:
            return f"cut gone, at {done.position}" + (" (replayed)" if done.replayed else "")
        case ContextChanged() as done:
            return f"{_context_text(done.record)}, at {done.position}" + (" (replayed)" if done.replayed else "")
        case ContextDeleted() as done:
            return f"gone {done.guid.decode()}, at {done.position}" + (" (replayed)" if done.replayed else "")
        case WritersGiven() as done:
            last = done.first + done.count - 1
            return f"writers {done.first - FIRST_WRITER}..{last - FIRST_WRITER}, at {done.position}"
        case VersionSaved() as done:
            text = f"version {done.version.name} of epoch {done.version.epoch}, time {done.version.time_unix_ms}"
            return f"{text}, at {done.position}" + (" (replayed)" if done.replayed else "")
        case LeaseChanged() as done:
            return show_changed(done)
        case ChunksStored() | PayloadStored() | Collected() as done:
            return show_stored(done)
        case RetentionChanged() | Compacted() | PinChanged() as done:
            return show_retention(done)
        case SchemaKept() as done:
            return show_kept(done)
        case Refusal() as refusal:
            return f"{refusal.reason}: {refusal.message}"


def _show_context(tables: MemoryTables, name: str, words: list[str]) -> str:
    record = tables.contexts.named(words[0] if words else "demo", name)
    if record is None:
        return "no context"
    epoch, base = tables.contexts.bases[record.guid]
    assert epoch == record.epoch
    versions = [version for guid, version in tables.contexts.versions if guid == record.guid]
    return f"{_context_text(record)}, base {base.decode()!r}, versions {versions}"


def _context_text(record: ContextRecord) -> str:
    seal = f" sealed at {record.seal}" if record.is_sealed else ""
    return f"{record.name} is {record.guid.decode()} in epoch {record.epoch}{seal}, time {record.changed_unix_ms}"


def _show_state(tables: MemoryTables, agent: str, branch: str = MAIN) -> str:
    log = tables.log(Target("demo", agent, branch))
    if log is None:
        return "no agent"
    document = tables.document(log)
    assert document.size_bytes == json_size(document.root)
    assert document.size_bytes == log.state_bytes or log.seq == log.fork_seq
    return f"{log.seq} {canonical_json(document.root).decode()}"
