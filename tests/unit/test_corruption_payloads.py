"""Every so many bytes of a small state of payloads, changed: as `test_corruption_database.py` has it of all else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tallystick_node.core.commands import Append, Command
from tallystick_node.core.manifests import payload_id
from tallystick_node.core.payload_records import PayloadRecord, PutChunks, PutPayload
from tallystick_node.storage.database import Database
from tests.unit.database_support import START_MS, append, set_op, target
from tests.unit.payload_script import manifest, payload_of
from tests.unit.test_corruption_database import MISSING, Read, Sound, _written, is_part_of, read_all

NAMES = ("one+two", "two+three+three", "one")
HASHES = [hashlib.sha256(word).digest() for word in (b"one", b"two", b"three", b"four")]


def history() -> list[Command]:
    """Payloads that are named and such as are not, chunks that are held and such as are not."""

    def naming(name: str, agent: str) -> Append:
        named = payload_of(f'{{"$payload":"<{name}>"}}')
        return Append(START_MS, target(agent), append([set_op("/x", named)]).mutations)

    return [
        PutChunks(START_MS, "demo", (b"one", b"two", b"three"), "me"),
        *(PutPayload(START_MS + 1, "demo", manifest(name), "me") for name in NAMES),
        naming("one+two", "a"),
        naming("one+two", "b"),
        naming("two+three+three", "b"),
        PutChunks(START_MS + 2, "demo", (b"four",), "you"),
        PutChunks(START_MS + 2, "other", (b"four",), "you"),
    ]


def reads() -> list[Read]:
    """All that can be asked of payloads, and what `apply` looks up."""

    def found(database: Database, name: str) -> PayloadRecord | None:
        return database.reads.payloads.payload("demo", payload_id(manifest(name)))

    def payload(name: str) -> Read:
        return lambda database: found(database, name)

    def manifest_of(name: str) -> Read:
        def read(database: Database) -> object:
            record = found(database, name)
            return database.reads.payloads.manifest(record) if record is not None else None

        return read

    def content(digest: bytes) -> Read:
        def read(database: Database) -> object:
            chunk = database.reads.payloads.chunk("demo", digest)
            return database.reads.payloads.content(chunk) if chunk is not None else None

        return read

    def there(database: Database) -> list[bytes]:
        missing = database.reads.payloads.missing("demo", HASHES)
        return [each for each in HASHES if each not in missing]

    return [
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.payloads.payloads("demo", b"", 100),
        lambda database: database.reads.payloads.usages("", 100),
        lambda database: database.reads.payloads.usage("demo").stored_bytes or None,
        lambda database: database._tables.payloads.unreferenced("demo", START_MS + 9, 100),
        lambda database: database._tables.payloads.unheld("demo", START_MS + 9, 100),
        there,
        *(payload(name) for name in NAMES),
        *(manifest_of(name) for name in NAMES),
        *(content(digest) for digest in HASHES),
    ]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return _written(tmp_path_factory.mktemp("sound") / "payloads.db", history(), 10, reads())


def test_reads_of_the_sound_state(sound: Sound, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(sound.data)
    found, is_sound = read_all(path, sound.reads)
    assert is_sound
    assert None not in found
    assert MISSING not in found


@pytest.mark.parametrize(("step", "first"), [(32, 0), pytest.param(8, 3, marks=pytest.mark.long)])
def test_every_changed_byte_is_damage_or_no_matter(sound: Sound, tmp_path: Path, step: int, first: int) -> None:
    path, data = tmp_path / "state.db", sound.data
    path.write_bytes(data)
    wanted, _ = read_all(path, sound.reads)
    detected = checked = 0
    with path.open("r+b", buffering=0) as file:
        for offset in sound.offsets(first, step):
            file.seek(offset)
            file.write(bytes([data[offset] ^ 0xFF]))
            found, is_sound = read_all(path, sound.reads)
            for value, was in zip(found, wanted, strict=True):
                assert value is None or is_part_of(value, was), f"byte {offset}"
            assert not (is_sound and found != wanted), f"byte {offset}: verify finds nothing, and reads differ"
            detected += not is_sound
            checked += 1
            file.seek(offset)
            file.write(data[offset : offset + 1])
    assert detected > checked // 8 > 20
