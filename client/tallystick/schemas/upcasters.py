"""Upcasters: what turns a value of one version of a schema into one of the next; and chains of them.

Rules of this file:
- Pure. An upcaster is given a copy, so it may change what it is given; what it returns is checked to be JSON.
- A chain has no gaps: what it cannot bring up is said when it is made, or by name when such a value is met.
- Version 0 is what was there before the first schema was. It counts as version 1, unless an upcaster begins at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick._json import JSON, JSONLike, decode, encode
from tallystick.errors import Invalid
from tallystick.schemas.subjects import Subject

Upcast: TypeAlias = Callable[..., JSONLike]
"""Called with a value of one version, a copy that it may change; returns one of the next version."""

BEFORE_SCHEMAS: Final = 0
"""The version of what no schema governed when it was written."""


@dataclass(frozen=True, slots=True)
class Upcaster:
    """What brings values of a subject from one version to the next. Made by `upcaster` and `unchanged`.

    Attributes:
        upcast: None: the values are valid in the next version as they are.
    """

    subject: Subject
    from_version: int
    upcast: Upcast | None

    def __post_init__(self) -> None:
        if self.from_version < BEFORE_SCHEMAS:
            raise Invalid("versions are counted from 1; 0 is before the first", metadata={"field": "from_version"})

    def __call__(self, value: JSONLike) -> JSON:
        """The value in the next version; what was given stays as it is.

        Raises:
            Invalid: the function gave what is not JSON.
        """
        copied = decode(encode(value))
        return copied if self.upcast is None else decode(encode(self.upcast(copied)))


def upcaster(subject: str | Subject, *, from_version: int) -> Callable[[Upcast], Upcaster]:
    """Makes an upcaster of a function, for `tallystick.connect(schemas=[...])`.

    Example:
        @upcaster("state of planner-", from_version=1)
        def tasks_by_id(state):
            state["tasks"] = {task["id"]: task for task in state["tasks"]}
            return state

    Args:
        subject: `state of PREFIX`, `state`, or `event KIND`.
        from_version: of what the function is given; it returns version `from_version + 1`. It must be pure: the same
            value gives the same value, on every machine.

    Raises:
        Invalid: the subject or the version is none.
    """
    of = Subject.parse(subject)
    return lambda function: Upcaster(of, from_version, function)


def unchanged(subject: str | Subject, *, from_version: int) -> Upcaster:
    """Says that values of this version are valid in the next one as they are, as of a compatible change.

    Raises:
        Invalid: the subject or the version is none.
    """
    return Upcaster(Subject.parse(subject), from_version, None)


@dataclass(frozen=True, slots=True)
class Chain:
    """What a program knows of a subject: the version that it works with, and how older values get there."""

    subject: Subject
    version: int
    links: Mapping[int, Upcaster]

    @classmethod
    def of(cls, subject: Subject, upcasters: Iterable[Upcaster], version: int = 0) -> Chain:
        """The chain of these upcasters of one subject.

        Args:
            version: that the program works with; 0: the one that the last upcaster gives.

        Raises:
            Invalid: two begin at the same version, one is missing between two, or the version is another one.
        """
        links: dict[int, Upcaster] = {}
        for each in upcasters:
            if each.from_version in links:
                raise _broken(subject, each.from_version, "two upcasters begin at")
            links[each.from_version] = each
        newest = version or max(links, default=0) + 1
        for wanted in range(min(links, default=newest), newest):
            if wanted not in links:
                raise _broken(subject, wanted, "no upcaster begins at")
        if max(links, default=0) >= newest:
            raise _broken(subject, newest, "an upcaster goes beyond")
        return cls(subject, newest, links)

    def bring(self, value: JSON, from_version: int, to_version: int | None = None) -> JSON:
        """The value in the version that the program works with, or in an earlier one.

        Raises:
            Invalid: an upcaster is missing, or gave what is not JSON.
        """
        for link in self._way(from_version, to_version):
            try:
                value = link(value)
            except Exception as error:
                error.add_note(f"the upcaster of {self.subject} from version {link.from_version}")
                raise
        return value

    def is_unchanged(self, from_version: int, to_version: int | None = None) -> bool:
        """Whether any value of that version is as it should be already.

        Raises:
            Invalid: an upcaster is missing.
        """
        return all(link.upcast is None for link in self._way(from_version, to_version))

    def _way(self, from_version: int, to_version: int | None) -> list[Upcaster]:
        end = self.version if to_version is None else to_version
        way: list[Upcaster] = []
        for version in range(from_version, end):
            link = self.links.get(version)
            if link is None and version != BEFORE_SCHEMAS:
                raise _broken(self.subject, version, "no upcaster begins at")
            if link is not None:
                way.append(link)
        return way


def _broken(subject: Subject, version: int, what: str) -> Invalid:
    return Invalid(
        f"{what} version {version} of {subject}", metadata={"subject": str(subject), "version": str(version)}
    )
