"""Where each entry of the journal is, and its term: 24 bytes of memory an entry, no payloads."""

from __future__ import annotations

from array import array

_PENDING = 0
"""The sequence of an entry that is in no segment yet; segments count from 1."""


class LogIndex:
    """Terms and places of the entries after `base_index`, without gaps.

    Attributes:
        base_index: the entry just before the first one held.
        base_term: its term.
    """

    def __init__(self, base_index: int, base_term: int) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._terms = array("Q")
        self._offsets = array("Q")
        self._sequences = array("L")

    @property
    def last_index(self) -> int:
        """The last entry's index, or `base_index` where there is none."""
        return self.base_index + len(self._terms)

    def term_at(self, index: int) -> int:
        """The term of an entry, or of the base. Raises IndexError outside of them."""
        if index == self.base_index:
            return self.base_term
        return self._terms[self._slot(index)]

    def place_of(self, index: int) -> tuple[int, int] | None:
        """The segment (its sequence) and the offset of an entry; None before it is written."""
        slot = self._slot(index)
        sequence = self._sequences[slot]
        return None if sequence == _PENDING else (sequence, self._offsets[slot])

    def put(self, index: int, term: int) -> None:
        """Add an entry, in place of those from `index` on. Raises IndexError where that would leave a gap."""
        if not self.base_index < index <= self.last_index + 1:
            raise IndexError(f"entry {index} does not fit a log that holds {self.base_index + 1} to {self.last_index}")
        self.cut_after(index - 1)
        self._terms.append(term)
        self._offsets.append(0)
        self._sequences.append(_PENDING)

    def place(self, index: int, sequence: int, offset: int) -> None:
        """Say where an entry was written."""
        slot = self._slot(index)
        self._sequences[slot] = sequence
        self._offsets[slot] = offset

    def cut_after(self, index: int) -> None:
        """Forget the entries after `index`."""
        keep = index - self.base_index
        for column in (self._terms, self._offsets, self._sequences):
            del column[keep:]

    def drop_through(self, index: int) -> None:
        """Forget the entries up to `index`, which becomes the base."""
        term = self.term_at(index)
        count = index - self.base_index
        for column in (self._terms, self._offsets, self._sequences):
            del column[:count]
        self.base_index, self.base_term = index, term

    def _slot(self, index: int) -> int:
        if not self.base_index < index <= self.last_index:
            raise IndexError(f"no entry {index}: the log holds {self.base_index + 1} to {self.last_index}")
        return index - self.base_index - 1
