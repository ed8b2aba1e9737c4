"""What clients asked and what they were told: the material of every checker.

Rules of this file:
- An operation is one request of a process, retries with the same idempotency key included.
- `ok`: it happened, and this was the answer. `failed`: nothing happened. `undecided`: it may have happened, may still
  happen, or never will. A request that was begun and never answered is undecided.
- Times come from one clock of the caller's choosing (seconds, or steps of a simulation) that never goes back.
  Operations that only touch, one returning at the time at which the other begins, count as overlapping.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, get_args, overload

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
Kind: TypeAlias = Literal["read", "write", "cas", "increment", "append"]
Outcome: TypeAlias = Literal["ok", "failed", "undecided"]
Consistency: TypeAlias = Literal["linearizable", "session", "local"]

MAX_OPERATIONS: Final = 10_000_000
"""Operations in one history."""
MAX_LINE: Final = 16 * 1024 * 1024
"""Characters in one line of a stored history."""

_HEAD: Final = {"format": "tallystick-history", "version": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request, and what came of it.

    Attributes:
        process: who asked; a process that waits for each answer before it asks again has a session.
        key: what it was about. Keys are independent of each other: an agent, or a path in its state.
        kind: `read`; `write` (argument: the value; null for a deletion); `cas` (argument: [expected, new], result:
            whether it was done); `increment` (argument: by how much, result: the sum, or null if not told); `append`
            (argument: the element, result: the new length, or null if not told).
        argument, result: JSON values; the result is null unless the outcome is `ok`.
        invoked_s, returned_s: when it was asked and answered; None: never answered.
        outcome: `ok`, `failed` (nothing happened) or `undecided`.
        revision: of a write: where it was decided; of a read: what the answering node had applied; None if not known.
        consistency: of a read: what was asked for.
    """

    process: str
    key: str
    kind: Kind
    argument: JSON = None
    result: JSON = None
    invoked_s: float
    returned_s: float | None = None
    outcome: Outcome = "undecided"
    revision: int | None = None
    consistency: Consistency = "linearizable"

    def __post_init__(self) -> None:
        if self.outcome == "undecided":
            if self.result is not None:
                raise ValueError(f"an undecided operation has no result: {self}")
        elif self.returned_s is None:
            raise ValueError(f"who never was answered is undecided: {self}")
        if self.returned_s is not None and not self.returned_s >= self.invoked_s:
            raise ValueError(f"answered before it was asked: {self}")
        if self.consistency != "linearizable" and self.kind != "read":
            raise ValueError(f"a consistency belongs to reads: {self}")

    @property
    def changes(self) -> bool:
        """It may have changed something: no read, and no compare-and-set that was told no."""
        return self.kind != "read" and not (self.kind == "cas" and self.result is False)

    def __str__(self) -> str:
        returned = "..." if self.returned_s is None else f"{self.returned_s:.6g}"
        words = [f"[{self.invoked_s:.6g} .. {returned}]", self.process, self.kind, repr(self.key)]
        if self.kind != "read":
            words.append(short(self.argument))
        words.append(f"-> {short(self.result)}" if self.outcome == "ok" else f"({self.outcome})")
        if self.revision is not None:
            words.append(f"@{self.revision}")
        return " ".join(words)


class Call:
    """A request that is under way. It is undecided until one of these is called, once."""

    def __init__(self, operations: list[Operation], index: int) -> None:
        self._operations = operations
        self._index = index

    def ok(self, *, at_s: float, result: JSON = None, revision: int | None = None) -> None:
        """It was answered."""
        self._end(at_s, "ok", result, revision)

    def failed(self, *, at_s: float) -> None:
        """Nothing happened, and never will."""
        self._end(at_s, "failed", None, None)

    def undecided(self, *, at_s: float) -> None:
        """The caller was told that nobody knows."""
        self._end(at_s, "undecided", None, None)

    def _end(self, at_s: float, outcome: Outcome, result: JSON, revision: int | None) -> None:
        begun = self._operations[self._index]
        if begun.returned_s is not None:
            raise ValueError(f"a second answer to {begun}")
        self._operations[self._index] = replace(
            begun, returned_s=at_s, outcome=outcome, result=result, revision=revision
        )


class History:
    """Operations in the order in which they were begun. Not for use by several threads at once."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations: list[Operation] = []
        for operation in operations:
            self.append(operation)

    def begin(
        self,
        process: str,
        key: str,
        kind: Kind,
        argument: JSON = None,
        *,
        at_s: float,
        consistency: Consistency = "linearizable",
    ) -> Call:
        """Records that a process asks; tell the call what came of it."""
        self.append(
            Operation(process=process, key=key, kind=kind, argument=argument, invoked_s=at_s, consistency=consistency)
        )
        return Call(self._operations, len(self._operations) - 1)

    def append(self, operation: Operation) -> None:
        """Adds an operation.

        Raises:
            ValueError: there are `MAX_OPERATIONS` already.
        """
        if len(self._operations) >= MAX_OPERATIONS:
            raise ValueError(f"a history has at most {MAX_OPERATIONS} operations")
        self._operations.append(operation)

    def select(self, wanted: Callable[[Operation], bool]) -> History:
        """A history of the operations that are wanted, for example those of keys that share a model."""
        return History(filter(wanted, self._operations))

    def save(self, path: str | Path) -> None:
        """Writes JSON lines: a head, then an operation a line.

        Raises:
            OSError: the file cannot be written.
            ValueError: a value is not JSON (NaN, infinity).
        """
        with Path(path).open("w", encoding="utf-8") as file:
            for line in (_HEAD, *map(asdict, self._operations)):
                file.write(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Reads what `save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no history; the message names the line.
        """
        history = cls()
        with Path(path).open(encoding="utf-8") as file:
            lines = chain([file.readline(MAX_LINE)], iter(lambda: file.readline(MAX_LINE), ""))
            for number, line in enumerate(lines, start=1):
                try:
                    read = json.loads(line, parse_constant=_no_constant)
                    if number == 1:
                        _check_head(read)
                    else:
                        history.append(_parse(read))
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error
        return history

    def __len__(self) -> int:
        return len(self._operations)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    @overload
    def __getitem__(self, index: int) -> Operation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Operation]: ...
    def __getitem__(self, index: int | slice) -> Operation | list[Operation]:
        return self._operations[index]


def highest_before(earlier: Iterable[Operation], later: Iterable[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """Each of `later` with the one of `earlier` that has the highest revision of those answered before it began.

    Takes O(n log n). Of `later` those with nothing before them are left out.
    """
    returned = sorted(
        (op for op in earlier if op.outcome == "ok" and op.revision is not None), key=attrgetter("returned_s")
    )
    highest, highest_revision, count = None, -1, 0
    for operation in sorted(later, key=attrgetter("invoked_s")):
        while count < len(returned) and cast("float", returned[count].returned_s) < operation.invoked_s:
            revision = cast("int", returned[count].revision)
            if revision > highest_revision:
                highest, highest_revision = returned[count], revision
            count += 1
        if highest is not None:
            yield operation, highest


_FIELDS: Final = frozenset(field.name for field in fields(Operation))
_WORDS: Final = {"kind": get_args(Kind), "outcome": get_args(Outcome), "consistency": get_args(Consistency)}


def _check_head(read: object) -> None:
    if read != _HEAD:
        raise ValueError(f"the head is not {_HEAD}")


def _parse(read: object) -> Operation:
    """An operation of a stored line."""
    if not isinstance(read, dict) or not read.keys() <= _FIELDS:
        raise ValueError(f"not an operation: {short(cast('JSON', read))}")
    for name, words in _WORDS.items():
        if name in read and read[name] not in words:
            raise ValueError(f"{name} is none of {', '.join(words)}")
    for name, types in (
        ("process", str),
        ("key", str),
        ("invoked_s", int | float),
        ("returned_s", int | float | None),
        ("revision", int | None),
    ):
        if name in read and (not isinstance(read[name], types) or isinstance(read[name], bool)):
            raise ValueError(f"{name} is of a wrong type")
    try:
        return Operation(**read)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _no_constant(name: str) -> JSON:
    raise ValueError(f"{name} is not JSON")


def short(value: JSON) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "..."
