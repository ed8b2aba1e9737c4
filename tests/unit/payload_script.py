"""What golden scripts of the state machine say of payloads: see `test_core_scripts.py`.

A payload is named by the words that its chunks are, joined by `+`: `one+two`. In an operation `<one+two>` is its id.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from tallystick_node.core.manifests import ChunkRef, manifest_of, payload_id
from tallystick_node.core.payload_records import (
    ChunksStored,
    CollectPayloads,
    PayloadCommand,
    PayloadOutcome,
    PayloadStored,
    PutChunks,
    PutPayload,
)
from tests.unit.core_tables import MemoryTables

PAYLOAD_VERBS: Final = {"chunks", "payload", "collect"}


def manifest(words: str) -> bytes:
    """Of the payload whose chunks are these words; `two:9` lies about a chunk's size."""
    chunks = [word.partition(":") for word in words.split("+") if word]
    return manifest_of(
        ChunkRef(hashlib.sha256(text.encode()).digest(), int(size or len(text))) for text, _, size in chunks
    )


def payload_of(word: str) -> str:
    """With the id of the payload where a word names it by its chunks."""
    return re.sub("<(.*?)>", lambda found: payload_id(manifest(found[1])).hex(), word)


def payload_command(verb: str, words: list[str]) -> PayloadCommand:
    """`chunks WORD ...`, `payload WORD+WORD`, `collect BEFORE LIMIT`, each with `time=T` and `ns=NAMESPACE`."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    rest = [word for word in words if "=" not in word]
    time_unix_ms, namespace = int(options.get("time", "1000")), options.get("ns", "demo")
    match verb:
        case "chunks":
            return PutChunks(time_unix_ms, namespace, tuple(word.encode() for word in rest), "me")
        case "payload":
            return PutPayload(time_unix_ms, namespace, manifest(rest[0]), "me")
        case _:
            return CollectPayloads(time_unix_ms, namespace, int(rest[0]), int(rest[1]))


def show_stored(done: PayloadOutcome) -> str:
    replayed = " (replayed)" if done.replayed else ""
    match done:
        case ChunksStored():
            return f"{done.stored} chunks at {done.position}{replayed}"
        case PayloadStored():
            record = done.record
            text = f"payload {record.id.hex()[:8]} of {record.size_bytes} bytes in {record.chunks} chunks"
            return f"{text}, {record.references} refs, touched {record.touched_unix_ms}, at {done.position}{replayed}"
        case _:
            return f"{done.payloads} payloads and {done.chunks} chunks gone at {done.position}{replayed}"


def show_payloads(tables: MemoryTables) -> str:
    """All that there is of them."""
    payloads = [
        f"{record.id.hex()[:8]} ({record.references} refs, touched {record.touched_unix_ms})"
        for _, record in sorted(tables.payloads.records.items())
    ]
    chunks = [
        f"{tables.payloads.contents[number].decode()} ({chunk.holders} holders)"
        for number, chunk in sorted(tables.payloads.stored.items())
    ]
    used = [f"{each.namespace} {each.stored_bytes} bytes" for _, each in sorted(tables.payloads.usages.items())]
    return f"payloads {payloads}, chunks {chunks}, {used}"
