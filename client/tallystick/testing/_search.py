"""The search for an order: Wing and Gong's, with Lowe's memory of what was tried.

Each step has to be put at a point between its begin and its end, so that one after the other they lead from the initial
state to the next. An optional step (undecided) has no end: it may come any time after its begin, or never.

Rules of this file:
- Next may come the required steps that begin before the first end among those not yet placed; optional ones likewise.
- A read that fits is placed at once and for good: it changes nothing, so it is in nobody's way.
- What was placed is `base`, the steps before it in order of their begin, and `ahead`, a bitmask of those from there on,
  so that a step costs the steps that overlap, not the length of the history.
- A place that was reached before, in the same state, with the same optional steps used or fewer, is not tried again.
- Where most is placed the search goes on; there, optional steps come last, and where fewer are used first. So they are
  used only where nothing else helps, and what fewer lead to is known before more are tried.
- Of optional steps with one label, the one that began first is used first: they are interchangeable.
- Begins and ends at one time overlap. No recursion, no iteration over sets: the same steps give the same search.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, NamedTuple, TypeVar, cast

from tallystick.testing.models import Effect
from tallystick.testing.verdict import Budget

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """Something to be put in order.

    Attributes:
        apply: what it does to a state; None: it cannot come here.
        began: not before this.
        ended: not after this; None: optional.
        reads_only: `apply` never changes the state.
        label: optional steps with an equal label do the same; None: it is like no other.
    """

    apply: Effect[S]
    began: float
    ended: float | None
    reads_only: bool = False
    label: Hashable = None


@dataclass(frozen=True, slots=True)
class Found:
    """There is an order."""


@dataclass(frozen=True, slots=True)
class Stuck(Generic[S]):
    """There is none: up to the end of `step` (an index of the steps searched) no order was found for all of them.

    `states` are those that some order of some of the steps leads to.
    """

    step: int
    states: tuple[S, ...]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The budget ran out."""


class _Place(NamedTuple, Generic[S]):
    """A place that the search got to. The first three put places in order; no two have one `number`.

    `stuck` says that its required steps were tried, and optional ones are next.
    """

    minus_placed: int
    optional_used: int
    number: int
    stuck: bool
    base: int
    ahead: int
    used: int
    state: S


def search(steps: Sequence[Step[S]], initial: S, may_go_on: Budget) -> Found | Stuck[S] | Unfinished:
    """Looks for an order of the steps; asks the budget at every place."""
    return _Search(steps, initial).run(may_go_on)


class _Search(Generic[S]):
    def __init__(self, steps: Sequence[Step[S]], initial: S) -> None:
        self.indexes = [index for index, step in enumerate(steps) if step.ended is not None]
        self.indexes.sort(key=lambda index: steps[index].began)
        self.required = [steps[index] for index in self.indexes]
        self.ends = [cast("float", step.ended) for step in self.required]
        self.optional = sorted((step for step in steps if step.ended is None), key=lambda step: step.began)
        self.twins = _earlier_twins(self.optional)
        self.seen: dict[tuple[int, int, S], tuple[int, ...]] = {}
        self.furthest = (float("-inf"), 0)  # the latest first end that anything led to, and whose it is
        self.count = 0
        self.places = [_Place(0, 0, 0, False, 0, 0, 0, initial)]  # noqa: FBT003

    def run(self, may_go_on: Budget) -> Found | Stuck[S] | Unfinished:
        while self.places:
            if not may_go_on():
                return Unfinished()
            place = heappop(self.places)
            if place.base == len(self.required):
                return Found()
            if place.stuck:
                self._try_optional(place)
            elif self._is_new(place):
                self._try_required(place)
        return Stuck(self.indexes[self.furthest[1]], tuple(dict.fromkeys(state for _, _, state in self.seen)))

    def _try_required(self, place: _Place[S]) -> None:
        candidates, first_end = self._candidates(place)
        self.furthest = max(self.furthest, first_end)
        for candidate in candidates:
            step = self.required[candidate]
            if step.reads_only and step.apply(place.state) is not None:
                self._reach(place, candidate, place.state)
                return
        for candidate in candidates:
            after = self.required[candidate].apply(place.state)
            if after is not None:
                self._reach(place, candidate, after)
        if self.optional:
            self._push(place._replace(optional_used=place.optional_used + 1, stuck=True))

    def _candidates(self, place: _Place[S]) -> tuple[list[int], tuple[float, int]]:
        """The required steps that may come next, and the first end of those not yet placed."""
        candidates: list[int] = []
        first_end, whose = float("inf"), place.base
        ahead = place.ahead
        for candidate in range(place.base, len(self.required)):
            if self.required[candidate].began > first_end:
                break
            if not ahead & 1:
                candidates.append(candidate)
                if self.ends[candidate] < first_end:
                    first_end, whose = self.ends[candidate], candidate
            ahead >>= 1
        return candidates, (first_end, whose)

    def _try_optional(self, place: _Place[S]) -> None:
        _, (first_end, _) = self._candidates(place)
        for choice, step in enumerate(self.optional):
            if step.began > first_end:
                return
            bit = 1 << choice
            if place.used & bit or self.twins[choice] & ~place.used:
                continue
            after = step.apply(place.state)
            if after is not None and after != place.state:  # one that changes nothing is kept for later
                self._push(place._replace(stuck=False, used=place.used | bit, state=after))

    def _reach(self, place: _Place[S], candidate: int, state: S) -> None:
        """Goes on from a place by a required step."""
        base, ahead = place.base, place.ahead | 1 << candidate - place.base
        while ahead & 1:
            base, ahead = base + 1, ahead >> 1
        self._push(place._replace(minus_placed=place.minus_placed - 1, base=base, ahead=ahead, state=state))

    def _push(self, place: _Place[S]) -> None:
        self.count += 1
        heappush(self.places, place._replace(number=self.count))

    def _is_new(self, place: _Place[S]) -> bool:
        key = (place.base, place.ahead, place.state)
        known = self.seen.get(key, ())
        for used in known:
            if not used & ~place.used:
                return False
        self.seen[key] = (*(used for used in known if place.used & ~used), place.used)
        return True


def _earlier_twins(optional: Iterable[Step[S]]) -> list[int]:
    """For each optional step a bitmask of those with its label that began before it."""
    masks: dict[Hashable, int] = {}
    twins = []
    for choice, step in enumerate(optional):
        twins.append(0 if step.label is None else masks.get(step.label, 0))
        if step.label is not None:
            masks[step.label] = twins[-1] | 1 << choice
    return twins
