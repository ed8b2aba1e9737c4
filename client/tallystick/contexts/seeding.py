"""What a new context begins with: decided once, so that two who create it do not both put it in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, cast

import pycrdt

from tallystick._json import JSON, JSONLike
from tallystick.contexts.documents import Document
from tallystick.contexts.views.roots import MapRoot
from tallystick.contexts.views.shapes import RESERVED, root_key
from tallystick.contexts.views.views import Views
from tallystick.errors import Invalid

SEED_WRITER: Final = 1
"""Writes seeds, and nothing else in the life of a document but the bases of its epochs."""


class _Seed:
    """A document before anybody has it: what the views see of it."""

    actor = ""
    writer = SEED_WRITER

    def __init__(self, schema: JSON) -> None:
        self.doc = Document(SEED_WRITER)
        self.schema = schema

    def transaction(self, cause: str = "") -> AbstractContextManager[object]:
        """Part of the one edit that a seed is."""
        del cause
        return self.doc.transaction()

    def unix_ms(self) -> int:
        """Seeds carry no time."""
        return 0


def seed_of(content: Mapping[str, JSONLike] | bytes | None, schema: JSON = None) -> bytes:
    """The update of a seed: an object becomes a map, an array a list, a string a text, each a root of this name.

    Raises:
        Invalid: a value of another type, or one that no view takes.
    """
    if content is None or isinstance(content, bytes):
        return content or b""
    seed = _Seed(schema)
    views = Views(seed)
    with seed.doc.transaction():
        for name, value in content.items():
            if isinstance(value, Mapping):
                kind = views.map(name).kind
                views.map(name).update(value)
            elif isinstance(value, str):
                kind = views.text(name).kind
                views.text(name).append(value)
            elif isinstance(value, list | tuple):
                kind = views.list(name).kind
                views.list(name).extend(value)
            else:
                raise Invalid(f"the root {name!r} of a seed is an object, an array or a string")
            declared = cast("MapRoot", seed.doc.get(RESERVED, type=pycrdt.Map))
            declared[root_key(name)] = str(kind)  # of an empty root too
    return seed.doc.get_update() if content else b""
