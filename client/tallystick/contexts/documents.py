"""The pycrdt document of a replica: it knows which of its roots have a type.

pycrdt learns the type of a root when somebody asks for it (`doc.get(name, type=...)`); until then nothing can
observe it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import pycrdt

from tallystick.errors import Corrupt

SharedType: TypeAlias = "pycrdt.Map[object] | pycrdt.Array[object] | pycrdt.Text"
"""What a root can be for us."""


class Document(pycrdt.Doc[SharedType]):
    """A pycrdt document that tells of each root when its type is first known.

    Attributes:
        typed: the roots whose types are known, by name.
        on_typed: told of each new one, inside the transaction in which it became known.
    """

    def __init__(self, client_id: int) -> None:
        super().__init__(client_id=client_id)
        self.typed: dict[str, SharedType] = {}
        self.on_typed: Callable[[str, SharedType], None] | None = None

    def __setitem__(self, key: str, value: SharedType) -> None:
        """See `pycrdt.Doc`; `get` comes here too."""
        super().__setitem__(key, value)
        known = self.typed.get(key)
        if known is None or type(known) is not type(value):
            self.typed[key] = value
            if self.on_typed is not None:
                self.on_typed(key, value)


@contextmanager
def guarded() -> Iterator[None]:
    """Turns what pycrdt raises into ours.

    Its `PanicException` is a BaseException without a public name, so it is known by its name: all else that is no
    Exception passes.

    Raises:
        Corrupt: pycrdt could not.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Corrupt(f"pycrdt: {error}") from error
        raise
