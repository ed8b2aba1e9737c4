"""Core's tables of payloads in dicts; a part of `core_tables.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from tallystick_node.core.payload_records import ChunkRecord, PayloadRecord, PayloadUsage


class MemoryPayloads:
    """An implementation of `tallystick_node.core.payload_records.PayloadTables`.

    Args:
        numbers_of: the numbers of an agent's logs.
    """

    def __init__(self, numbers_of: Callable[[str, str], set[int]]) -> None:
        self._numbers_of = numbers_of
        self.usages: dict[str, PayloadUsage] = {}
        self.records: dict[int, PayloadRecord] = {}
        self.manifests: dict[int, bytes] = {}
        self.stored: dict[int, ChunkRecord] = {}
        self.contents: dict[int, bytes] = {}
        self.references: set[tuple[int, int, int]] = set()

    def usage(self, namespace: str) -> PayloadUsage:
        return self.usages.get(namespace, PayloadUsage(namespace))

    def save_usage(self, usage: PayloadUsage) -> None:
        self.usages.pop(usage.namespace, None)
        if usage.stored_bytes:
            self.usages[usage.namespace] = usage

    def payload(self, namespace: str, payload_id: bytes) -> PayloadRecord | None:
        found = [each for each in self.records.values() if (each.namespace, each.id) == (namespace, payload_id)]
        assert len(found) <= 1
        return found[0] if found else None

    def manifest(self, record: PayloadRecord) -> bytes:
        return self.manifests[record.position]

    def add(self, record: PayloadRecord, manifest: bytes) -> None:
        self.manifests[record.position] = manifest
        self.save(record)

    def save(self, record: PayloadRecord) -> None:
        self.records[record.position] = record

    def remove(self, record: PayloadRecord) -> None:
        del self.records[record.position], self.manifests[record.position]

    def unreferenced(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[PayloadRecord]:
        found = [each for each in self.records.values() if each.namespace == namespace and not each.references]
        old = [each for each in found if each.touched_unix_ms < before_unix_ms]
        return sorted(old, key=lambda each: (each.touched_unix_ms, each.position))[:limit]

    def chunks(self, namespace: str, hashes: Collection[bytes]) -> Mapping[bytes, ChunkRecord]:
        here = [each for each in self.stored.values() if each.namespace == namespace]
        assert len({each.hash for each in here}) == len(here)
        return {each.hash: each for each in here if each.hash in hashes}

    def add_chunk(self, namespace: str, digest: bytes, content: bytes, time_unix_ms: int) -> None:
        number = max(self.stored, default=0) + 1
        self.contents[number] = content
        self.save_chunks([ChunkRecord(number, namespace, digest, len(content), 0, time_unix_ms)])

    def save_chunks(self, records: Sequence[ChunkRecord]) -> None:
        self.stored.update((each.number, each) for each in records)

    def remove_chunks(self, records: Sequence[ChunkRecord]) -> None:
        for each in records:
            del self.stored[each.number], self.contents[each.number]

    def unheld(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[ChunkRecord]:
        found = [each for each in self.stored.values() if each.namespace == namespace and not each.holders]
        old = [each for each in found if each.touched_unix_ms < before_unix_ms]
        return sorted(old, key=lambda each: (each.touched_unix_ms, each.number))[:limit]

    def add_reference(self, log_number: int, seq: int, position: int) -> bool:
        is_new = (log_number, seq, position) not in self.references
        self.references.add((log_number, seq, position))
        return is_new

    def remove_references_of_agent(self, namespace: str, agent: str) -> Mapping[bytes, int]:
        numbers = self._numbers_of(namespace, agent)
        return self._remove({each for each in self.references if each[0] in numbers})

    def remove_references(self, log_number: int) -> Mapping[bytes, int]:
        return self._remove({each for each in self.references if each[0] == log_number})

    def remove_references_below(self, log_number: int, seq: int, staying: Collection[int]) -> Mapping[bytes, int]:
        below = {each for each in self.references if each[0] == log_number and each[1] < seq}
        return self._remove({each for each in below if each[1] not in staying})

    def _remove(self, gone: set[tuple[int, int, int]]) -> Mapping[bytes, int]:
        self.references -= gone
        return Counter(self.records[position].id for _, _, position in sorted(gone, key=lambda each: each[2]))
