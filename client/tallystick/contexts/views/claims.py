"""Exclusive claims of tasks, through the decided half: at most one holds a task, partition or not.

The claims of a board are the state of an agent of its own, `claims/<guid>/<root>`: `{task: {"holder", "actor", "epoch",
"until_unix_ms"}}`. Each step reads it, linearizably, and appends with the seq that it read: of two that claim at once,
one is refused, and looks again. Where no majority answers, nobody claims, renews or releases anything.

Rules of this file:
- A claim ends by time. Who holds it counts `ttl_s` by its own steady clock from before the claim was sent, and asks
  `is_held` before each step that must be alone. Everybody else takes it for ended once its own clock is `MARGIN_S` past
  the `until_unix_ms` that the log holds. So two hold it at once only if two machines' clocks differ by more than that.
- For work where even this must do no harm, `epoch` is a fencing token: it rises with each new claim of a task, so what
  is worked on can refuse who comes with a lower one. Renewing keeps the epoch.
- A holder is one board of one program, not an agent: two programs under one name do not share a claim, nor do two
  coroutines of one program.
- A claim is decided, a status merges: who claims a task may not have heard yet that it was done and released. `finish`
  decides that too: nobody claims the task again. Its `until_unix_ms` is `NEVER`.
- A claim whose answer was lost (`Undecided`) goes to who asks again through the same board; else it ends by time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Protocol, Self

from tallystick import ops
from tallystick._json import JSON, JSONLike
from tallystick._pointer import pointer
from tallystick._values import Appended, Consistency, Operation, Snapshot
from tallystick.contexts.views.values import SAFE_INT, check_text
from tallystick.errors import Conflict, Invalid, Overloaded, Reason, StaleOwner

MARGIN_S: Final = 5.0
"""How far the clocks of two machines may be apart without two holding a claim at once."""

MAX_TTL_S: Final = 24 * 3600.0
"""The longest claim; it can be renewed."""

NEVER: Final = SAFE_INT
"""The end of a claim whose task is finished."""

ATTEMPTS: Final = 64
"""How often a step is tried anew because others changed the claims meanwhile: each time one of them got on."""

TASK_CHARS: Final = 256
"""The name of a task."""

_FITTING: Final = re.compile(r"[A-Za-z0-9._:@-]{1,64}")


class ClaimsLog(Protocol):
    """The agent whose state the claims are."""

    async def rehydrate(
        self, *, tail: int, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> Snapshot:
        """See `Agent.rehydrate`."""

    async def append(
        self,
        *operations: Operation,
        cause: str = "",
        expected_seq: int | None = None,
        timeout_s: float | None = None,
    ) -> Appended:
        """See `Agent.append`."""


class Clocks(Protocol):
    """What claims take from the machine."""

    def clock(self) -> float:
        """Seconds that never go back."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """A claim as the log holds it.

    Attributes:
        task: what is claimed.
        actor: who claimed it.
        holder: which of the actor's programs.
        epoch: the seq of the log at which it was claimed.
        until_unix_ms: when it ends, by the clock of who claimed it.
    """

    task: str
    actor: str
    holder: str
    epoch: int
    until_unix_ms: int

    @property
    def is_finished(self) -> bool:
        """Whether the task is done: nobody can claim it again."""
        return self.until_unix_ms == NEVER

    def has_ended(self, now_unix_ms: int) -> bool:
        """Whether another may take it, by the clock of who asks: `MARGIN_S` after its end."""
        return now_unix_ms > self.until_unix_ms + MARGIN_S * 1000


class Claim:
    """A claim that this program holds. Made by `BoardView.claim`; `async with` releases it.

    Attributes:
        task: what is claimed.
        epoch: the fencing token: higher than that of every earlier claim of the task.
    """

    def __init__(self, claims: Claims, task: str, epoch: int, ends_at_s: float) -> None:
        self.task = task
        self.epoch = epoch
        self._claims = claims
        self._ends_at_s = ends_at_s
        self._is_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    def __repr__(self) -> str:
        return f"Claim({self.task!r}, epoch={self.epoch}, remaining_s={self.remaining_s:.1f})"

    @property
    def remaining_s(self) -> float:
        """How long it is still held, in seconds, by this machine's steady clock; 0: no longer."""
        return 0.0 if self._is_over else max(0.0, self._ends_at_s - self._claims.clocks.clock())

    @property
    def is_held(self) -> bool:
        """Whether nobody else can hold the task now."""
        return self.remaining_s > 0

    async def renew(self, *, ttl_s: float = 30.0, timeout_s: float | None = None) -> None:
        """Holds it for `ttl_s` from now on, also if it had ended and nobody took it.

        Raises:
            StaleOwner: another took it, or it was released or finished.
            Unavailable: no majority answers; the claim ends when it would have.
            Undecided: it may have been renewed.
        """
        if self._is_over:
            raise StaleOwner(f"the claim of {self.task!r} was given up here", metadata={"task": self.task})
        ends_at_s = self._claims.clocks.clock() + _checked_ttl(ttl_s)
        try:
            await self._claims.renew(self, ttl_s, timeout_s)
        except StaleOwner:
            self.end()
            raise
        self._ends_at_s = ends_at_s

    async def finish(self, *, timeout_s: float | None = None) -> None:
        """The task is done: from now on nobody can claim it, and it is not held here any more.

        Raises:
            StaleOwner: another took it meanwhile, or it was released; what was done may be done twice.
            Unavailable: no majority answers; it is still held, until its end.
            Undecided: it may be finished; finishing it again does no harm.
        """
        try:
            await self._claims.finish(self, timeout_s)
        except StaleOwner:
            self.end()
            raise
        self.end()

    async def release(self, *, timeout_s: float | None = None) -> bool:
        """Gives it up, so that others need not wait for its end; False: it was not held any more.

        From the call on it counts as given up here, whatever the answer.

        Raises:
            Unavailable: no majority answers; others take the task once the claim has ended.
            Undecided: it may have been released.
        """
        was_over = self._is_over
        self.end()
        return False if was_over else await self._claims.release(self, timeout_s)

    def end(self) -> None:
        """It is not held here any more; the log is not told."""
        self._is_over = True
        self._claims.forget(self)


class Claims:
    """The claims of one board, as one program sees them.

    Args:
        log: where they are.
        holder: a name for this program that nobody else has.
    """

    def __init__(self, log: ClaimsLog, clocks: Clocks, *, actor: str, holder: str) -> None:
        self.clocks = clocks
        self._log = log
        self._actor = actor
        self._holder = holder
        self._held: dict[str, Claim | None] = {}
        """What this program holds, and, as None, what it is about to claim."""

    async def claim(self, task: str, ttl_s: float, timeout_s: float | None) -> Claim:
        """See `BoardView.claim`."""
        _checked_ttl(ttl_s)
        held = self._held.get(task)
        if task in self._held and (held is None or held.is_held):
            _claimed(ClaimInfo(task, self._actor, self._holder, held.epoch if held else 0, 0), "this program")
        self._held[task] = None
        try:
            claim = await self._claim(task, ttl_s, timeout_s)
        except BaseException:
            del self._held[task]
            raise
        self._held[task] = claim
        return claim

    async def renew(self, claim: Claim, ttl_s: float, timeout_s: float | None) -> None:
        """See `Claim.renew`."""

        def step(_: int, held: ClaimInfo | None) -> Operation:
            epoch = self._checked(held, claim)
            if held is not None and held.is_finished:
                raise StaleOwner(f"the task {claim.task!r} is finished", metadata={"task": claim.task})
            return self._entry(claim.task, epoch, self._end_of(ttl_s))

        await self._step(claim.task, "renew", step, timeout_s)

    async def finish(self, claim: Claim, timeout_s: float | None) -> None:
        """See `Claim.finish`."""

        def step(_: int, held: ClaimInfo | None) -> Operation:
            return self._entry(claim.task, self._checked(held, claim), NEVER)

        await self._step(claim.task, "finish", step, timeout_s)

    async def release(self, claim: Claim, timeout_s: float | None) -> bool:
        """See `Claim.release`."""

        def step(_: int, held: ClaimInfo | None) -> Operation | None:
            is_ours = held is not None and self._is(held, claim) and not held.is_finished
            return ops.delete(pointer(claim.task)) if is_ours else None

        return await self._step(claim.task, "release", step, timeout_s) is not None

    async def all(self, timeout_s: float | None) -> dict[str, ClaimInfo]:
        """See `BoardView.claims`."""
        snapshot = await self._log.rehydrate(tail=0, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
        found = (_info(snapshot.state, task) for task in _tasks(snapshot.state))
        return {info.task: info for info in found if info is not None}

    def forget(self, claim: Claim) -> None:
        """The program does not hold it any more."""
        if self._held.get(claim.task) is claim:
            del self._held[claim.task]

    async def _claim(self, task: str, ttl_s: float, timeout_s: float | None) -> Claim:
        ends_at_s = 0.0

        def step(seq: int, held: ClaimInfo | None) -> Operation:
            nonlocal ends_at_s
            if held is not None and not self._may_take(held):
                _claimed(held, repr(held.actor))
            ends_at_s = self.clocks.clock() + ttl_s
            return self._entry(task, seq, self._end_of(ttl_s))

        epoch = await self._step(task, "claim", step, timeout_s)
        return Claim(self, task, epoch or 0, ends_at_s)

    async def _step(
        self,
        task: str,
        word: str,
        step: Callable[[int, ClaimInfo | None], Operation | None],
        timeout_s: float | None,
    ) -> int | None:
        """Reads, lets `step` judge, appends what it gives where it was read, at this seq; None: it gave nothing."""
        for _ in range(ATTEMPTS):
            snapshot = await self._log.rehydrate(tail=0, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
            seq = snapshot.seq + 1
            operation = step(seq, _info(snapshot.state, task))
            if operation is None:
                return None
            try:
                await self._log.append(
                    operation, cause=f"{word}:{task}"[:TASK_CHARS], expected_seq=snapshot.seq, timeout_s=timeout_s
                )
            except Conflict:
                continue  # another got on; what it did decides
            return seq
        raise Overloaded(f"the claims changed {ATTEMPTS} times while this was tried", metadata={"task": task})

    def _may_take(self, held: ClaimInfo) -> bool:
        if held.is_finished:
            return False
        return held.holder == self._holder or held.has_ended(self.clocks.unix_ms())

    def _checked(self, held: ClaimInfo | None, claim: Claim) -> int:
        """The epoch, if the claim still stands."""
        if held is None or not self._is(held, claim):
            who = f"{held.actor!r} holds" if held is not None else "nobody holds"
            raise StaleOwner(f"{who} the task {claim.task!r} now", metadata={"task": claim.task})
        return claim.epoch

    def _end_of(self, ttl_s: float) -> int:
        return self.clocks.unix_ms() + int(ttl_s * 1000)

    def _entry(self, task: str, epoch: int, until_unix_ms: int) -> Operation:
        entry: dict[str, JSONLike] = {
            "holder": self._holder,
            "actor": self._actor,
            "epoch": epoch,
            "until_unix_ms": until_unix_ms,
        }
        return ops.set(pointer(task), entry)

    def _is(self, held: ClaimInfo, claim: Claim) -> bool:
        return held.holder == self._holder and held.epoch == claim.epoch


def claims_agent(guid: bytes, root: str) -> str:
    """The name of the agent whose state the claims of this board are."""
    fits = _FITTING.fullmatch(root) is not None
    return f"claims/{guid.hex()}/{root if fits else 'sha256:' + hashlib.sha256(root.encode()).hexdigest()[:32]}"


def check_task(task: str, path: str) -> str:
    """The name, as a plain str.

    Raises:
        Invalid: `INVALID_NAME`, unless it has 1 to `TASK_CHARS` characters and no `/`.
    """
    plain = check_text(task, path)
    if not 1 <= len(plain) <= TASK_CHARS or "/" in plain:
        raise Invalid(
            f"the name of a task, {plain!r:.80}: 1 to {TASK_CHARS} characters, no '/'", reason=Reason.INVALID_NAME
        )
    return plain


def _checked_ttl(ttl_s: float) -> float:
    if not 0 < ttl_s <= MAX_TTL_S:
        raise Invalid(f"ttl_s is above 0 and at most {MAX_TTL_S:.0f}", metadata={"field": "ttl_s"})
    return ttl_s


def _claimed(held: ClaimInfo, who: str) -> NoReturn:
    raise Conflict(
        f"the task {held.task!r} is {'finished' if held.is_finished else 'claimed'} by {who}",
        reason=Reason.TASK_CLAIMED,
        metadata={
            "task": held.task,
            "actor": held.actor,
            "epoch": str(held.epoch),
            "until_unix_ms": str(held.until_unix_ms),
        },
    )


def _tasks(state: JSON) -> list[str]:
    return list(state) if isinstance(state, Mapping) else []


def _info(state: JSON, task: str) -> ClaimInfo | None:
    """The claim of this task; None: nobody's, or nothing that a claim could be."""
    match state.get(task) if isinstance(state, dict) else None:
        case {"holder": str(holder), "actor": str(actor), "epoch": int(epoch), "until_unix_ms": int(until_unix_ms)}:
            return ClaimInfo(task, actor, holder, epoch, until_unix_ms)
        case _:
            return None
