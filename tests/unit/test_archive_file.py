"""A file of an archive: what the client's reader says of it, and its name."""

from __future__ import annotations

import gzip
from pathlib import PurePosixPath

import pytest

from tallystick import Corrupt
from tallystick.history import ExportReader
from tallystick.history.export_format import STATE_PIECE_BYTES, ExportedBase, ExportedCheckpoint
from tallystick_node.core.commands import Target
from tallystick_node.core.values import canonical_json
from tallystick_node.retention.archive_file import ArchivePart, lines, packed
from tests.unit.archive_kit import ANN, Log


def told(part: ArchivePart) -> list[int | str]:
    return told_by(list(lines(part)))


def told_by(written: list[bytes]) -> list[int | str]:
    reader = ExportReader(written)
    found: list[int | str] = []
    for each in reader:
        if isinstance(each, ExportedBase):
            found.append(f"base {each.seq} {each.state.decode()[:20]}")
        else:
            found.append(each.name if isinstance(each, ExportedCheckpoint) else each.seq)
    assert reader.end is not None
    return found


def test_the_beginning_of_a_log_has_no_base() -> None:
    assert told(Log(6).part(0, 6)) == [1, 2, 3, 4, 5, "at-5", 6]


def test_what_comes_later_begins_with_the_state_before_it() -> None:
    assert told(Log(12).part(5, 11)) == ['base 5 {"n":5}', "at-5", 6, 7, 8, 9, 10, "at-10", 11]


def test_a_large_state_is_cut_into_pieces() -> None:
    part = Log(3, pad="é" * STATE_PIECE_BYTES).part(1, 3)
    reader = ExportReader(lines(part))
    base = next(iter(reader))
    assert isinstance(base, ExportedBase) and base.state == part.state and len(base.state) > 2 * STATE_PIECE_BYTES


def test_no_byte_can_be_changed_unseen() -> None:
    whole = b"".join(lines(Log(4, every=2).part(2, 4)))
    assert told_by(whole.splitlines(keepends=True))
    for at in range(len(whole)):
        bent = bytearray(whole)
        bent[at] ^= 0x01
        with pytest.raises(Corrupt):
            told_by(bytes(bent).splitlines(keepends=True))


def test_another_state_at_the_base_is_found_out_though_it_is_well_formed() -> None:
    part = Log(4).part(2, 4)
    other = ArchivePart(part.target, 2, part.base_hash, canonical_json({"n": 3}), part.mutations, part.checkpoints)
    mixed = list(lines(part))
    mixed[1] = list(lines(other))[1]
    with pytest.raises(Corrupt, match="not the one that the head says"):
        told_by(mixed)


def test_the_same_part_gives_the_same_bytes_and_the_same_name() -> None:
    one, other = Log(9).part(3, 7), Log(9).part(3, 7)
    assert (packed(one), one.name) == (packed(other), other.name)
    assert gzip.decompress(packed(one)) == b"".join(lines(one))


def test_another_history_of_that_name_has_another_file() -> None:
    assert Log(9).part(3, 7).name != Log(9, actor="the next ann").part(3, 7).name


def test_a_name_is_a_path_that_every_file_system_takes() -> None:
    targets = [
        ANN,
        Target("a/b", "c", "main"),
        Target("a", "b/c", "main"),
        Target("a", "b%2Fc", "main"),
        Target("a", "b" + "/" * 199, "main"),
        Target("a", "b" + "/" * 198 + "c", "main"),
    ]
    names = [Log(1, target).part(0, 1).name for target in targets]
    assert len({PurePosixPath(name).parent for name in names}) == len(targets)
    for name in names:
        parts = PurePosixPath(name).parts
        assert len(parts) == 4 and all(0 < len(part.encode()) <= 255 and part not in (".", "..") for part in parts)
    assert names[0] == f"demo/ann/main/{1:020d}-{1:020d}-{Log(1).hashes[1].hex()[:16]}.jsonl.gz"
