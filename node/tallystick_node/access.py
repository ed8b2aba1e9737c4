"""How a use case reaches what is decided: it proposes, or waits until this node may answer and looks it up.

Rules of this file:
- Every wait has a timeout.
- Damage is never answered with: the node hears of it and stops.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from tallystick.errors import Corrupt, Invalid, NoLeader, Reason, TallystickError, Unavailable, error_for
from tallystick_node.consensus.barrier import Barrier
from tallystick_node.consensus.runner import Runner
from tallystick_node.core import limits
from tallystick_node.core.outcomes import Outcome, Refusal
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.storage.errors import DatabaseDamaged

Found = TypeVar("Found")
OutcomeT = TypeVar("OutcomeT")

DEFAULT_PAGE_ITEMS: Final = 100
"""Items of a page when the caller names no limit."""

BARRIER_TIMEOUT_S: Final = 3.0
"""How long a linearizable read waits for a majority at most."""


class Consistency(enum.Enum):
    """What a read must see; see the promises in the README."""

    LINEARIZABLE = enum.auto()
    SESSION = enum.auto()
    LOCAL = enum.auto()


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """How a read is to be served.

    Attributes:
        consistency: what it must see.
        position: for a session read, the position that this node must have reached.
        timeout_s: how long it may wait for that.
    """

    consistency: Consistency
    position: int
    timeout_s: float


class Access:
    """See the module.

    Args:
        on_damage: hears that the stored state is not what was written: the node must stop.
    """

    def __init__(
        self, runner: Runner[Outcomes], machine: Machine, on_damage: Callable[[DatabaseDamaged], None]
    ) -> None:
        self._runner = runner
        self._machine = machine
        self._on_damage = on_damage
        self._barrier = Barrier(lambda: runner.confirm_read(BARRIER_TIMEOUT_S))

    @property
    def position(self) -> int:
        """The position this node has reached in the decided history."""
        return self._machine.position

    async def propose(self, data: bytes, timeout_s: float) -> Outcomes:
        """What came of encoded commands.

        Raises:
            Unavailable: nothing happened.
            Undecided: it may have; ask again.
        """
        return await self._runner.propose(data, timeout_s)

    async def decide(self, data: bytes, timeout_s: float, expected: type[OutcomeT]) -> OutcomeT:
        """What came of one encoded command.

        Raises:
            Refused: decided: no.
            Unavailable, Undecided: as `propose`.
        """
        (outcome,) = await self._runner.propose(data, timeout_s)
        return expect(outcome, expected)

    async def ready(self, read_from: ReadFrom) -> None:
        """Waits until this node may answer.

        Raises:
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        if not self._runner.may_be_read:
            raise Unavailable("this node's state is damaged, and a peer's copy is awaited", reason=Reason.BEHIND)
        if read_from.consistency is Consistency.LINEARIZABLE:
            try:
                async with asyncio.timeout(read_from.timeout_s):
                    await self._barrier.wait()
            except TimeoutError:
                raise NoLeader("no majority answered this node in time") from None
        elif read_from.consistency is Consistency.SESSION:
            await self.reach(read_from.position, read_from.timeout_s)

    async def reach(self, position: int, timeout_s: float) -> None:
        """Waits until this node has applied a position.

        Raises:
            Unavailable: `BEHIND`, it did not in time.
        """
        if self._machine.position >= position:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._machine.reached(position)
        except TimeoutError:
            message = f"this node has applied {self._machine.position} and was asked for {position}"
            raise Unavailable(message, reason=Reason.BEHIND) from None

    def looked_up(self, look: Callable[[], Found]) -> Found:
        """What is stored.

        Raises:
            Corrupt: it is damaged; the node stops.
        """
        try:
            return look()
        except DatabaseDamaged as error:
            raise self.damaged(error) from error

    def damaged(self, error: DatabaseDamaged) -> Corrupt:
        """Has the node stop; what to raise."""
        self._on_damage(error)
        return Corrupt(str(error))


def expect(outcome: Outcome, expected: type[OutcomeT]) -> OutcomeT:
    """The outcome, raised if it is a refusal."""
    if isinstance(outcome, Refusal):
        raise error_for(outcome.reason, outcome.message, outcome.metadata)
    if not isinstance(outcome, expected):
        raise TallystickError(f"expected {expected.__name__}, decided was {outcome!r}")
    return outcome


def page_items(field: str, limit: int) -> int:
    """How many items a page has at most, where a caller asked for so many (0: it named none).

    Raises:
        Invalid: `TOO_LARGE`.
    """
    if limit > limits.PAGE_ITEMS:
        raise Invalid(
            f"{field} is {limit}, a page has at most {limits.PAGE_ITEMS} items",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limits.PAGE_ITEMS)},
        )
    return limit or DEFAULT_PAGE_ITEMS
