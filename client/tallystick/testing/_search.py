"""The search for an order: Wing and Gong's, with Lowe's memory of what was tried.

Each step has to be put at a point between its begin and its end, so that one after the other they lead from the initial
state to the next. An optional step (undecided) has no end: it may come any time after its begin, or never.

Rules of this file:
- Candidates are the required steps that begin before the first end among those not yet placed; then the optional ones.
  Optional ones come last: mostly they are not needed, and fewer of them used is never worse (see below).
- A read that fits is placed at once and for good: it changes nothing, so it is in nobody's way.
- What was placed is `base`, the steps before it in order of their begin, and `ahead`, a bitmask of those from there on,
  so that a step costs the steps that overlap, not the length of the history.
- A place that was reached before, in the same state, with the same optional steps used or fewer, is not tried again.
- Of optional steps with one label, the one that began first is used first: they are interchangeable.
- Begins and ends at one time overlap. No recursion, no iteration over sets: the same steps give the same search.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar, cast

from tallystick.testing.models import Effect
from tallystick.testing.verdict import Budget

S = TypeVar("S", bound=Hashable)

_HEAD: Final = 0  # the node before the first; nodes count from 1, in order of time
_REQUIRED: Final = -1  # in a frame: no optional step


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


class _Frame(NamedTuple, Generic[S]):
    """What a placed step is taken back to."""

    node: int
    choice: int
    final: bool
    state: S
    base: int
    ahead: int
    used: int


def search(steps: Sequence[Step[S]], initial: S, may_go_on: Budget) -> Found | Stuck[S] | Unfinished:
    """Looks for an order of the steps; asks the budget at every turn."""
    return _Search(steps, initial).run(may_go_on)


class _Search(Generic[S]):
    def __init__(self, steps: Sequence[Step[S]], initial: S) -> None:
        self.state, self.base, self.ahead, self.used = initial, 0, 0, 0
        self.frames: list[_Frame[S]] = []
        self.seen: dict[tuple[int, int, S], tuple[int, ...]] = {(0, 0, initial): (0,)}
        required = [(step.began, index) for index, step in enumerate(steps) if step.ended is not None]
        required.sort()
        self.indexes = [index for _, index in required]
        self.required = [steps[index] for index in self.indexes]
        self.optional = sorted((step for step in steps if step.ended is None), key=lambda step: step.began)
        self.twins = _earlier_twins(self.optional)
        self.left = len(self.required)
        self.furthest = _HEAD
        self._link()

    def _link(self) -> None:
        """Makes the list of begins and ends, in order of time; begins first."""
        events = [(step.began, 0, place) for place, step in enumerate(self.required)]
        events += [(step.ended, 1, place) for place, step in enumerate(self.required) if step.ended is not None]
        events.sort()
        self.place = [-1, *(place for _, _, place in events)]
        self.ends = [False, *(kind == 1 for _, kind, _ in events)]
        self.end_of = [_HEAD] * len(self.required)
        for node, (_, kind, place) in enumerate(events, start=1):
            if kind:
                self.end_of[place] = node
        self.next = [*range(1, len(events) + 1), _HEAD]
        self.previous = [len(events), *range(len(events))]

    def run(self, may_go_on: Budget) -> Found | Stuck[S] | Unfinished:
        node, choice = self.next[_HEAD], 0
        while self.left:
            if not may_go_on():
                return Unfinished()
            if not self.ends[node]:
                node = self.next[_HEAD] if self._place_required(node) else self.next[node]
            elif choice < len(self.optional) and self.optional[choice].began <= self._end(node):
                node, choice = (self.next[_HEAD], 0) if self._place_optional(node, choice) else (node, choice + 1)
            else:
                self.furthest = max(self.furthest, node)
                back = self._take_back()
                if back is None:
                    return Stuck(self.indexes[self.place[self.furthest]], self._states())
                node, choice = back
        return Found()

    def _end(self, node: int) -> float:
        return cast("float", self.required[self.place[node]].ended)

    def _place_required(self, node: int) -> bool:
        place = self.place[node]
        step = self.required[place]
        state = step.apply(self.state)
        if state is None:
            return False
        base, ahead = self.base, self.ahead | 1 << place - self.base
        while ahead & 1:
            base, ahead = base + 1, ahead >> 1
        if not step.reads_only and not self._is_new(base, ahead, state, self.used):
            return False
        self._push(node, _REQUIRED, final=step.reads_only)
        self.state, self.base, self.ahead = state, base, ahead
        self.left -= 1
        for gone in (node, self.end_of[place]):
            self.next[self.previous[gone]] = self.next[gone]
            self.previous[self.next[gone]] = self.previous[gone]
        return True

    def _place_optional(self, node: int, choice: int) -> bool:
        bit = 1 << choice
        if self.used & bit or self.twins[choice] & ~self.used:
            return False
        state = self.optional[choice].apply(self.state)
        # One that changes nothing is kept for later.
        if state is None or state == self.state or not self._is_new(self.base, self.ahead, state, self.used | bit):
            return False
        self._push(node, choice, final=False)
        self.state = state
        self.used |= bit
        return True

    def _is_new(self, base: int, ahead: int, state: S, used: int) -> bool:
        key = (base, ahead, state)
        known = self.seen.get(key, ())
        for other in known:
            if not other & ~used:
                return False
        self.seen[key] = (*(other for other in known if used & ~other), used)
        return True

    def _push(self, node: int, choice: int, *, final: bool) -> None:
        self.frames.append(_Frame(node, choice, final, self.state, self.base, self.ahead, self.used))

    def _take_back(self) -> tuple[int, int] | None:
        """Takes back the last step that was a choice, and all after it; where to go on, or None: nothing is left."""
        while self.frames:
            frame = self.frames.pop()
            self.state, self.base, self.ahead, self.used = frame.state, frame.base, frame.ahead, frame.used
            if frame.choice != _REQUIRED:
                return frame.node, frame.choice + 1
            self.left += 1
            for back in (self.end_of[self.place[frame.node]], frame.node):
                self.next[self.previous[back]] = back
                self.previous[self.next[back]] = back
            if not frame.final:
                return self.next[frame.node], 0
        return None

    def _states(self) -> tuple[S, ...]:
        return tuple(dict.fromkeys(state for _, _, state in self.seen))


def _earlier_twins(optional: Iterable[Step[S]]) -> list[int]:
    """For each optional step a bitmask of those with its label that began before it."""
    masks: dict[Hashable, int] = {}
    twins = []
    for choice, step in enumerate(optional):
        twins.append(0 if step.label is None else masks.get(step.label, 0))
        if step.label is not None:
            masks[step.label] = twins[-1] | 1 << choice
    return twins
