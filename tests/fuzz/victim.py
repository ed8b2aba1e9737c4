"""The process that applies what was admitted: it may die, and says until then what happened.

Reads frames of a length and a JSON array (the document, then the updates one after the other, all base64), and answers
each with a line: `ok`, `refused: ...` (pycrdt raised), `panic: ...`, `differs: ...`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import resource
import sys
import traceback
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

from pycrdt import Array, Doc, Map, Text, XmlFragment, merge_updates

from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.decode import decode
from tallystick_node.contexts.updates.state_vectors import merge

MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Address space: more is an abort."""

_KINDS: Final = (Map, Array, Text, XmlFragment)


class Differs(Exception):
    """What pycrdt holds is not what was to be expected."""


class Case(NamedTuple):
    """Updates, each admitted on what was before it."""

    state: bytes
    updates: tuple[bytes, ...]
    after: tuple[dict[int, int], ...]
    """The state vectors that admission foretold."""
    texts: tuple[str, ...]
    """Roots that hold text, and so must not be read as a list."""
    repeats: bool
    """Some of them carry clocks that were known, perhaps with other content: merged as bytes, either may win."""
    clashes: tuple[str, ...]
    """Roots that hold both: read as text, and not edited."""

    def encode(self) -> bytes:
        """A frame."""
        packed = {
            "state": base64.b64encode(self.state).decode(),
            "updates": [base64.b64encode(one).decode() for one in self.updates],
            "after": [list(one.items()) for one in self.after],
            "texts": self.texts,
            "repeats": self.repeats,
            "clashes": self.clashes,
        }
        body = json.dumps(packed).encode()
        return len(body).to_bytes(4, "big") + body


def _decode_case(body: bytes) -> Case:
    packed = json.loads(body)
    return Case(
        base64.b64decode(packed["state"]),
        tuple(base64.b64decode(one) for one in packed["updates"]),
        tuple(dict(one) for one in packed["after"]),
        tuple(packed["texts"]),
        packed["repeats"],
        tuple(packed["clashes"]),
    )


def _loaded(updates: Iterable[bytes]) -> Doc[Any]:
    doc: Doc[Any] = Doc(client_id=4)
    for update in updates:
        doc.apply_update(update)
    return doc


def _read(doc: Doc[Any], roots: Iterable[str], texts: Collection[str]) -> None:
    for kind in _KINDS:
        copy = _loaded([doc.get_update()])
        for name in roots:
            if kind is Array and name in texts:
                continue
            with contextlib.suppress(ValueError):  # XML in a list or map has no value in Python
                _read_root(copy.get(name, type=kind))


def _read_root(root: Map[Any] | Array[Any] | Text | XmlFragment) -> None:
    if isinstance(root, Text):
        str(root)
        root.diff()
    elif isinstance(root, XmlFragment):
        str(root)
    else:
        root.to_py()


def _edit(doc: Doc[Any], roots: Iterable[str], texts: Collection[str]) -> None:
    """What a user may do next; what is deleted is collected, recursively."""
    for name in roots:
        things = _loaded([doc.get_update()])
        keyed = things.get(name, type=Map)
        keyed["k"] = "mine"
        keyed.clear()
        if name in texts:
            text = things.get(name, type=Text)
            text.insert(0, "mine")
            text.clear()
            continue
        listed = things.get(name, type=Array)
        listed.append("mine")
        listed.insert(len(listed) // 2, "mine")
        listed.clear()
        things.get_update()


def try_case(case: Case) -> None:
    """Applies, reads, merges, edits.

    Raises:
        Differs: see there.
        ValueError, RuntimeError: pycrdt refused.
        BaseException: a panic of it.
    """
    doc = _loaded([case.state])
    for update, after in zip(case.updates, case.after, strict=True):
        doc.apply_update(update)
        held = state_vectors.decode(doc.get_state())
        if not state_vectors.equal(held, after):
            raise Differs(f"state vector {held}, foretold {after}")
    whole = doc.get_update()
    said = decode(whole, depth_limit=1000)
    if not state_vectors.equal(case.after[-1], {writer: ranges[-1][1] for writer, ranges in said.ranges.items()}):
        raise Differs("its encoding has other clocks")
    roots = sorted(said.roots)
    _read(doc, roots, case.texts)
    _edit(doc, [name for name in roots if name not in case.clashes], case.texts)
    if not case.repeats:
        _compare_merged(case)


def _compare_merged(case: Case) -> None:
    merged = _loaded([merge_updates(case.state, *case.updates)])
    held = state_vectors.decode(merged.get_state())
    if not state_vectors.equal(held, merge(case.after[-1], {})):
        raise Differs(f"merged: state vector {held}, foretold {case.after[-1]}")


def verdict(case: Case) -> str:
    """One line."""
    try:
        try_case(case)
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError) as error:
        return f"refused: {type(error).__name__}: {error}"
    except Differs as error:
        return f"differs: {error}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        where = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
        return f"panic: in {where[-1]}: {error}"
    return "ok"


def main() -> None:
    """See the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source = sys.stdin.buffer
    while header := source.read(4):
        line = verdict(_decode_case(source.read(int.from_bytes(header, "big"))))
        sys.stdout.write(line.replace("\n", " ")[:400] + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
