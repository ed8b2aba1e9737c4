"""Every limit of the decided half, each with what it bounds.

Rules of this file:
- A limit that `core` enforces while it decides (marked "decided") is part of the log format: replicas with
  different values would differ. Changing one takes a new log format.
- The others are checked before anything is proposed, and may change from release to release.
"""

from __future__ import annotations

from typing import Final

NAME_CHARS: Final = 200
"""A namespace, agent, branch, checkpoint or mutation kind: 1 to this many characters."""

KEY_BYTES: Final = 64
"""An idempotency key, in UTF-8."""

CAUSE_BYTES: Final = 1024
"""What led to a mutation, in UTF-8."""

TRACE_BYTES: Final = 128
"""A trace id, in UTF-8."""

MUTATION_ID_BYTES: Final = 16
"""The id of a mutation that was made offline."""

ACTOR_BYTES: Final = 200
"""Who handed something in, in UTF-8."""

APPEND_MUTATIONS: Final = 1000
"""Mutations of one append; of a transaction, those of all parts together."""

MUTATION_OPERATIONS: Final = 100
"""Operations of one mutation."""

MUTATION_BYTES: Final = 1024 * 1024
"""One mutation, serialized."""

COMMAND_BYTES: Final = 2 * 1024 * 1024
"""One command, serialized."""

JSON_DEPTH: Final = 100
"""Nesting of a JSON value; for an operation, the tokens of its pointer count too, so that no state is deeper."""

POINTER_BYTES: Final = 1024
"""A JSON Pointer, in UTF-8."""

POINTER_TOKENS: Final = 100
"""Tokens of a JSON Pointer."""

STATE_BYTES: Final = 16 * 1024 * 1024
"""A state as compact JSON. Decided: an append that would exceed it is refused as `STATE_QUOTA`."""

METADATA_BYTES: Final = 64 * 1024
"""The metadata of a checkpoint, and likewise its pending calls."""

STEP_MAX: Final = 2**63 - 1
"""The step of a checkpoint."""

STEP_RESULT_BYTES: Final = 512 * 1024
"""What a step returned, as JSON text; likewise the note of a turn. Clients keep larger ones (64 MiB) as payloads."""

STEP_ERROR_BYTES: Final = 16 * 1024
"""Why a step failed: the error's message, in UTF-8."""

STEP_DIGEST_BYTES: Final = 64
"""What a step was begun with, as a digest."""

STEP_ATTEMPTS: Final = 2**31 - 1
"""Attempts at one step."""

INT_MIN: Final = -(2**63)
"""The smallest integer in a state. Decided."""

INT_MAX: Final = 2**64 - 1
"""The largest integer in a state. Decided."""

KEYS_REMEMBERED: Final = 1024
"""Idempotency keys remembered for each log: at least the last this many. Decided."""

KEYS_PRUNE_STEP: Final = 256
"""Older keys are forgotten this many at a time. Decided."""

AGENT_BRANCHES: Final = 1000
"""Logs of one agent, `main` among them. Decided: a further branch is refused as `BRANCH_QUOTA`."""

BRANCH_DEPTH: Final = 64
"""How many branches may follow one from another, `main` not counted. Decided."""

TEAM_AGENTS: Final = 1000
"""Agents that are forked together, or that a team's checkpoint binds. Decided."""

TEAM_STATES_BYTES: Final = 64 * 1024 * 1024
"""States of all agents that a transaction changes, or that a team's checkpoint binds, together. Decided: more is
refused as `TEAM_QUOTA`."""

TEAM_CONTEXTS: Final = 100
"""Contexts whose cursors a team's checkpoint binds."""

CURSOR_BYTES: Final = 64 * 1024
"""One cursor of a team's checkpoint, serialized."""

OBSERVED_LOGS: Final = 64
"""Other logs that one mutation or checkpoint says were read."""

APPEND_OBSERVED_LOGS: Final = 6_400
"""What all mutations of one append say was read, together: each is looked up while the loop stands still."""

OBSERVED_CONTEXTS: Final = 16
"""Contexts of which it does."""

OBSERVED_HASH_BYTES: Final = 32
"""The hash of a mutation that was read."""

OBSERVED_GUID_BYTES: Final = 16
"""The guid of a context that was read."""

OBSERVED_CURSOR_BYTES: Final = 4 * 1024
"""One cursor of a context that was read, serialized."""

COMPARED_OBSERVATIONS: Final = 100_000
"""Observations looked at to find whether one mutation happened before another."""

TRANSACTION_PARTS: Final = 100
"""Logs that one transaction appends to. With those of which it only says where they must end, `TEAM_AGENTS`."""

COMPACTED_MUTATIONS: Final = 10_000
"""Mutations that one compaction of a log removes. Decided: what is more stays for the next one."""

COMPACTED_BYTES: Final = 16 * 1024 * 1024
"""Mutations that one compaction removes, serialized; it removes at least one. Decided: as above."""

COMPACTED_STATES_BYTES: Final = 64 * 1024 * 1024
"""States of pinned checkpoints and cuts that one compaction writes out, and one more. Decided: as above."""

RETENTION_MAX: Final = 2**53 - 1
"""Each number of a retention policy."""

SCHEMA_VERSIONS: Final = 1000
"""Versions of all schemas of one namespace. Decided: another is refused as `SCHEMA_QUOTA`."""

SCHEMA_DOCUMENT_BYTES: Final = 64 * 1024
"""The document of a schema, as canonical JSON."""

SCHEMA_APPLIED: Final = 1000
"""Subschemas of a schema that apply to one place of a value, counted as often as they do."""

SCHEMA_IN_PLACE_DEPTH: Final = 100
"""The same, each within the one before."""

SCHEMA_PATTERN_CHARS: Final = 1000
"""A regular expression in a schema; matched by an automaton of at most 1 MiB."""

FIRST_WRITER: Final = 2**32
"""Writer ids that are handed out begin here; below are those that Yjs clients draw by themselves. Decided."""

LAST_WRITER: Final = 2**53 - 1
"""The highest writer id: JavaScript counts no further. Decided."""

HOLDER_BYTES: Final = 200
"""Who holds a lease, in UTF-8."""

LEASE_TTL_MIN_MS: Final = 1000
"""The shortest time that a lease lives without a renewal."""

LEASE_TTL_MAX_MS: Final = 60 * 60 * 1000
"""The longest."""

LEASES_HELD: Final = 100_000
"""Leases held at once, in all namespaces. Decided: another acquisition is refused as `LEASE_QUOTA`."""

PAYLOAD_BYTES: Final = 1024 * 1024 * 1024
"""One payload. Decided: a larger one is refused as `PAYLOAD_QUOTA`."""

PAYLOADS_BYTES: Final = 16 * 1024 * 1024 * 1024
"""What the payloads of a namespace take: chunks, each once, and manifests. Decided: more is refused as
`PAYLOAD_QUOTA`."""

PAYLOAD_OVERHEAD_BYTES: Final = 256
"""What each chunk and each payload counts for besides its bytes. Decided."""

PAYLOAD_CHUNKS: Final = 32_768
"""Chunks of one payload. Decided: how many a collection looks at, too."""

CHUNK_BYTES: Final = 256 * 1024
"""One chunk."""

PUT_CHUNKS: Final = 64
"""Chunks stored at once."""

PUT_CHUNKS_BYTES: Final = 1024 * 1024
"""The same, in bytes."""

MUTATION_PAYLOADS: Final = 1000
"""Payloads that one mutation, or one checkpoint, names."""

COLLECTED_AT_ONCE: Final = 1000
"""Payloads, and chunks, removed by one command."""

PAGE_ITEMS: Final = 1000
"""Items of one page of a listing."""

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Content of one page of a listing; a page holds at least one item."""
