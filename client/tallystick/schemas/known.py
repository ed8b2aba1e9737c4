"""What a program knows of schemas: handed to `tallystick.connect(schemas=...)`.

Rules of this file: a program that knows nothing of a subject reads and writes it as if there were no schemas; the nodes
check what it writes all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from tallystick._values import STATE, Mutation
from tallystick.errors import Invalid
from tallystick.schemas.subjects import Subject, SubjectKind
from tallystick.schemas.upcasters import Chain, Upcaster


@dataclass(frozen=True, slots=True)
class Known:
    """The version of a subject that a program works with: `Known("state of planner-", 1)`.

    Upcasters say it by themselves; this is for who has none, or whose newest version needs none.

    Raises:
        Invalid: the subject is none, or the version is below 1.
    """

    subject: str | Subject
    version: int

    def __post_init__(self) -> None:
        Subject.parse(self.subject)
        if self.version < 1:
            raise Invalid("versions are counted from 1", metadata={"field": "version"})


SchemaKnowledge: TypeAlias = "Known | Upcaster"


class KnownSchemas:
    """All that a client was told when it was made. Immutable."""

    def __init__(self, told: Iterable[SchemaKnowledge] = ()) -> None:
        upcasters: dict[Subject, list[Upcaster]] = {}
        versions: dict[Subject, int] = {}
        for each in told:
            if isinstance(each, Upcaster):
                upcasters.setdefault(each.subject, []).append(each)
                continue
            subject = Subject.parse(each.subject)
            if versions.setdefault(subject, each.version) != each.version:
                raise Invalid(f"two versions of {subject} are known", metadata={"subject": str(subject)})
        self._chains: Mapping[Subject, Chain] = {
            subject: Chain.of(subject, upcasters.get(subject, ()), versions.get(subject, 0))
            for subject in {**upcasters, **versions}
        }

    @property
    def is_empty(self) -> bool:
        """Nothing was told."""
        return not self._chains

    def of_states(self, prefix: str) -> Chain | None:
        """What is known of exactly this prefix."""
        return self._chains.get(Subject.state(prefix))

    def of_agent(self, name: str) -> Chain | None:
        """What is known of an agent's state: by the longest prefix of its name."""
        chain: Chain | None = None
        for subject, candidate in self._chains.items():
            is_of = subject.kind is SubjectKind.STATE and name.startswith(subject.name)
            if is_of and (chain is None or len(subject.name) > len(chain.subject.name)):
                chain = candidate
        return chain

    def of_event(self, kind: str) -> Chain | None:
        """What is known of the events of a kind."""
        return self._chains.get(Subject.event(kind))

    def stamped(self, mutation: Mutation, states: Chain | None) -> Mutation:
        """The mutation with the version that this program works with, unless it names one or nothing is known.

        Args:
            states: of the agent that is written.
        """
        if mutation.schema_version or not self._chains:
            return mutation
        chain = states if mutation.kind == STATE else self.of_event(mutation.kind)
        return mutation if chain is None else replace(mutation, schema_version=chain.version)
