"""Chunks: what is cut, and that an edit moves only the cuts around it."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.payloads import chunking
from tallystick.payloads.chunking import BLOCK_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Chunker

ALPHABETS = (b"01", b"acgt", b"0123456789abcdef", b'{"role": "user"}, \n', bytes(range(256)))


def content(seed: int, size_bytes: int, alphabet: bytes = ALPHABETS[-1]) -> bytes:
    """Bytes of some kind."""
    return bytes(random.Random(seed).choices(alphabet, k=size_bytes))


def chunks_of(data: bytes, pieces: int = BLOCK_BYTES) -> list[bytes]:
    """All chunks, of what is fed in pieces of this size."""
    chunker = Chunker()
    made: list[bytes] = []
    for begin in range(0, len(data), pieces):
        made += chunker.feed(data[begin : begin + pieces])
    return made + chunker.finish()


CONTENTS = st.builds(content, st.integers(0, 9), st.integers(0, 600_000), st.sampled_from(ALPHABETS)) | st.builds(
    lambda unit, size_bytes: (unit * (size_bytes // len(unit) + 1))[:size_bytes],
    st.binary(min_size=1, max_size=9).filter(lambda unit: b"\xc1" not in unit),
    st.integers(0, 600_000),
)


@settings(max_examples=25, deadline=None)
@given(CONTENTS, st.integers(1, 200_000))
def test_chunks_are_the_bytes_in_their_bounds_however_they_are_fed(data: bytes, pieces: int) -> None:
    chunks = chunks_of(data)
    assert b"".join(chunks) == data
    assert all(MIN_CHUNK_BYTES <= len(chunk) <= MAX_CHUNK_BYTES for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= MAX_CHUNK_BYTES for chunk in chunks[-1:])
    assert chunks_of(data, pieces) == chunks


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=["bits", "dna", "hex", "json", "bytes"])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_edit_moves_only_the_cuts_around_it(alphabet: bytes, seed: int) -> None:
    data = content(seed, 3_000_000, alphabet)
    at = random.Random(seed).randrange(len(data))
    before = chunks_of(data)
    for edited in (data[:at] + b"new" + data[at:], data[:at] + data[at + 7 :], data[:at] + b"x" + data[at + 1 :]):
        new = set(chunks_of(edited)) - set(before)
        assert len(new) <= 4
        assert len(before) > 30


def test_chunks_are_of_about_the_promised_size() -> None:
    sizes = [len(chunk) for chunk in chunks_of(content(3, 8_000_000))]
    assert 50_000 < sum(sizes) / len(sizes) < 85_000
    assert sizes.count(MAX_CHUNK_BYTES) <= 1


def test_the_cuts_are_the_same_in_every_release() -> None:
    """What was stored by an older client is found again by a newer one: a change here costs everybody their chunks."""
    data = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(12_000))
    assert list(itertools.accumulate(map(len, chunks_of(data)))) == [103427, 179262, 254727, 327120, 384000]


def test_runs_of_one_byte_are_not_looked_at_place_by_place() -> None:
    dense = {value for value in range(256) if 0 in chunking._marks(bytes((value,)) * 100)[20:100]}
    assert dense == {0xC1}
