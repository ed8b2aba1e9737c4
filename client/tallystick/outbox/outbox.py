"""An agent that goes on working while it is cut off: `agent.outbox(...)`.

    online    an append is decided before it returns ......... and is on this disk before it leaves
    offline   an append is on this disk before it returns .... and is decided when it comes home

Rules of this file:
- One writer: appends say where the log must end, so the state seen here is the one that is decided, or it is found out.
- One thing is sent at a time, in the order in which it was made (`_busy`). Adding waits for no sending, unless it is
  to be decided at once (`_adding`, taken first). A round is ended under both.
- The file is used on one thread (`_run`), never on the event loop.
- What changes the file and what is known here is not cut by a cancellation (`to_its_end`): the two always agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import orjson

from tallystick._backoff import wait_s
from tallystick._cancelling import to_its_end
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._values import Mutation, Operation
from tallystick.errors import Conflict, Invalid, Overloaded, Reason, Refused, TallystickError, Unavailable, Undecided
from tallystick.history.merging import MergeResolver
from tallystick.outbox.applying import apply
from tallystick.outbox.entries import Base, Entry, Fate, ReconcileReport, Settled
from tallystick.outbox.file import OutboxFile
from tallystick.outbox.line import Line
from tallystick.outbox.reconciling import OnInterference, Reconciler

T = TypeVar("T")

DEFAULT_PATIENCE_S: Final = 2.0
"""How long an append waits for a majority before the agent goes offline."""

KEPT_BYTES: Final = 64 * 1024
"""Decided entries are kept beside the base until they take this much, or as much as it: then it is written anew."""

_BRANCH: Final = "branch:"
_REBASE: Final = "rebase"

_ID_BYTES: Final = 16
_OUT_OF_REACH: Final = (Unavailable, Undecided)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an append: decided at `seq`, or, with `seq` None, kept here until it comes home.

    `number`: names it in the outbox, and in the report of the reconciliation.
    """

    number: int
    seq: int | None


class Outbox:
    """An agent's durable outbox, and the state as the agent knows it. Made by `Agent.outbox`; used as `async with`.

    Example:
        async with agent.outbox("migrator.outbox") as box:
            await box.append(ops.set("/next_batch", 3))       # decided, or kept if the majority is out of reach
            print(box.state, box.is_online)
            report = await box.reconcile()                    # brings home what was kept
            if report.branch: ...                             # others had written meanwhile
    """

    def __init__(
        self,
        line: Line,
        path: str | Path,
        *,
        patience_s: float = DEFAULT_PATIENCE_S,
        auto_offline: bool = True,
        write_back: bool = False,
    ) -> None:
        self._line = line
        self._file = OutboxFile(Path(path), line.owner)
        self._patience_s = patience_s
        self._auto_offline = auto_offline
        self._write_back = write_back
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tallystick-outbox")
        self._adding = asyncio.Lock()
        self._busy = asyncio.Lock()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._id = b""
        self._base = Base(0, b"{}")
        self._state: JSON = {}
        self._entries: dict[int, Entry] = {}
        self._kept: dict[int, Entry] = {}
        self._refusals: dict[int, Refused] = {}
        self._chosen_offline = False
        self._interfered = False
        self._cut_off = False
        self._is_closed = False
        self._last_report: ReconcileReport | None = None

    async def __aenter__(self) -> Self:
        """Opens the file, and looks at the log if a node answers.

        Raises:
            Conflict: another process has the file open.
            Invalid: the file is another agent's.
            Unavailable: no node answers, and the file has no state yet.
        """
        opened = False
        try:
            await self._open()
            opened = True
        finally:
            if not opened:
                await to_its_end(self._close())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_its_end(self._close())

    @property
    def state(self) -> JSON:
        """The agent's state with all that was done here, decided or not. Do not change it."""
        return self._state

    @property
    def seq(self) -> int:
        """Where the decided part of it ends."""
        return max([self._base.seq, *(e.seq for e in self._entries.values() if e.fate is Fate.APPENDED)])

    @property
    def is_online(self) -> bool:
        """Whether an append is decided before it returns."""
        return not (self._chosen_offline or self._cut_off or self._interfered)

    async def wait_online(self) -> None:
        """Returns once appends are decided before they return: what waited has come home. Bound it with a timeout."""
        while not self.is_online:
            self._changed.clear()
            await self._changed.wait()

    @property
    def has_interference(self) -> bool:
        """Others wrote to the log while something was waiting here: `reconcile` says what becomes of it."""
        return self._interfered

    @property
    def last_report(self) -> ReconcileReport | None:
        """Of the last reconciliation that came to its end, also if the process did not live to see it."""
        return self._last_report

    @property
    def queued(self) -> tuple[Entry, ...]:
        """What waits to come home."""
        return tuple(entry for entry in self._entries.values() if entry.fate is Fate.QUEUED)

    @property
    def refused(self) -> tuple[Entry, ...]:
        """What was refused, until `discard`."""
        return (*self._kept.values(), *(e for e in self._entries.values() if e.fate is Fate.REFUSED))

    async def append(
        self, *operations: Operation, cause: str = "", trace_id: str = "", schema_version: int = 0
    ) -> Written:
        """Appends one mutation of these operations.

        Raises:
            Invalid: an operation does not fit the state.
            Conflict: online: others wrote to the log. Nothing was appended; `state` is now what they made of it.
            QuotaExceeded: the outbox is full.
            Unavailable, Undecided: the majority is out of reach and the agent may not go offline. After `Undecided` it
                is kept and settled first, and so is one whose caller was cancelled.
        """
        mutation = Mutation.of(*operations, cause=cause, trace_id=trace_id, schema_version=schema_version)
        return await self.append_many((mutation,))

    async def record(self, kind: str, payload: JSONLike = None, *, cause: str = "", trace_id: str = "") -> Written:
        """Appends a custom event. Raises as `append`."""
        return await self.append_many((Mutation.event(kind, payload, cause=cause, trace_id=trace_id),))

    async def append_many(self, mutations: Sequence[Mutation]) -> Written:
        """Appends several mutations, all or none. Raises as `append`."""
        if not mutations:
            raise Invalid("an append of no mutations")
        async with self._adding:
            if self._is_closed:
                raise Unavailable("the outbox is closed", reason=Reason.STOPPING)
            observed = mutations[0].observed or self._line.observed()
            first = replace(mutations[0], id=secrets.token_bytes(_ID_BYTES), observed=observed)
            made = (first, *mutations[1:])
            try:
                number = await to_its_end(self._add(made))
                if self._write_back or not self.is_online:
                    self._wake.set()
                    return Written(number, None)
                async with self._busy:
                    return await self._decided(number)
            except asyncio.CancelledError:
                self._wake.set()  # it is kept, and comes home by itself
                raise

    async def go_offline(self) -> None:
        """From now on nothing is sent by itself, until `reconcile`; remembered. Waits for what is being sent."""
        async with self._adding:
            await to_its_end(self._choose_offline())
        async with self._busy:
            return

    async def flush(self, *, timeout_s: float | None = None) -> None:
        """Sends what waits, as it was made, also while offline by choice; that stays so.

        Raises:
            Conflict, StaleOwner: others interfered: `reconcile`.
            Unavailable, Undecided: the majority is out of reach.
        """
        async with self._busy:
            interference = await self._send(timeout_s)
            if interference is not None:
                raise interference

    async def reconcile(
        self, *, on_interference: OnInterference = "branch", timeout_s: float | None = None
    ) -> ReconcileReport:
        """Brings home all that waits, and goes online. Call it again if it was cut: nothing is done twice.

        Args:
            on_interference: what becomes of entries that cannot be appended as they were made, since others wrote to
                the log: `"branch"` puts them on a branch that leaves the log where they were made; `"rebase"` does to
                the present state what they did to theirs, and refuses those in conflict; `"ours"`, `"theirs"` or a
                function settle the conflicts; `"refuse"` keeps them here as refused. A reconciliation that was cut
                goes on as it was begun.
            timeout_s: of each call to a node.

        Raises:
            Unavailable, Undecided: the majority is out of reach; what is not decided yet is still here.
        """
        async with self._adding, self._busy:
            interference = await self._send(timeout_s)
            reconciler = self._reconciler(timeout_s)
            if interference is not None:
                await self._settle(reconciler, interference, on_interference)
            return await self._end_round(reconciler, timeout_s)

    async def discard(self, *numbers: int) -> None:
        """Forgets what was refused: these, or all."""
        async with self._adding, self._busy:
            gone = [entry.number for entry in self.refused if not numbers or entry.number in numbers]
            await to_its_end(self._forget(gone))

    async def _open(self) -> None:
        self._id = await self._run(lambda: self._file.open(secrets.token_bytes(_ID_BYTES)))
        entries, base, after, self._chosen_offline, report = await self._run(self._load)
        self._entries = {entry.number: entry for entry in entries if entry.number > after}
        self._kept = {entry.number: entry for entry in entries if entry.number <= after}
        self._last_report = _read_report(report)
        if base is not None:
            self._base = base
            self._state = self._speculative()
        if base is None or not (self.queued or self._chosen_offline):
            await self._look(must=base is None)
        self._sender = asyncio.create_task(self._keep_sending(), name="tallystick outbox")
        if self.queued:
            self._out_of_touch()

    async def _add(self, made: tuple[Mutation, ...]) -> int:
        """Keeps what was made; its number."""
        before = self._state
        state = apply(before, made)
        key, offline = self._line.outside.new_key(), not self.is_online
        entry = await self._run(lambda: self._file.add(made, key, made_offline=offline))
        self._entries[entry.number] = entry
        self._state = state if self._state is before else self._speculative()  # else a refusal came meanwhile
        return entry.number

    async def _choose_offline(self) -> None:
        await self._run(lambda: self._file.set_offline(offline=True))
        self._chosen_offline = True

    async def _forget(self, numbers: Sequence[int]) -> None:
        await self._run(lambda: self._file.remove(numbers))
        for number in numbers:
            self._kept.pop(number, None)
            self._entries.pop(number, None)
            self._refusals.pop(number, None)

    def _load(self) -> tuple[list[Entry], Base | None, int, bool, bytes]:
        file = self._file
        return file.entries(), file.base(), file.round_after(), file.is_offline(), file.report()

    async def _look(self, *, must: bool) -> None:
        """Begins with the state as it is decided, if a node answers."""
        try:
            head = await self._line.head(None if must else self._patience_s)
        except _OUT_OF_REACH:
            if must:
                raise
            self._out_of_touch()
            return
        await to_its_end(self._begin(Base(head.seq, encode(head.state))))

    def _out_of_touch(self) -> None:
        """No majority, for now: what is made is kept, if the agent may go offline."""
        self._cut_off = self._auto_offline and not self._write_back
        self._wake.set()

    async def _begin(self, base: Base, report: bytes = b"") -> None:
        refused = {entry.number: entry for entry in self._entries.values() if entry.fate is Fate.REFUSED}
        forget = [number for number in self._entries if number not in refused]
        await self._run(lambda: self._file.begin_round(base, forget, report))
        self._kept |= refused
        self._entries = {}
        self._base, self._state = base, decode(base.state_json)

    async def _close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait((self._sender,))
        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    async def _decided(self, number: int) -> Written:
        """Sends what was just added, online."""
        try:
            interference = await self._send(self._patience_s)
        except _OUT_OF_REACH as error:
            if self._auto_offline:
                self._cut_off = True
                self._wake.set()
                await to_its_end(self._now_offline(number))
                return Written(number, None)
            if isinstance(error, Unavailable):  # no attempt did anything
                await self._withdraw(number)
            raise
        if interference is None:
            refused = self._refusals.pop(number, None)
            if refused is not None:
                await self._withdraw(number)
                raise refused
            seq = self._entries[number].seq
            await self._shorten()
            return Written(number, seq)
        await self._withdraw(number)
        if not self.queued:
            self._interfered = False
            await self._look(must=False)
        raise interference

    async def _now_offline(self, number: int) -> None:
        entry = replace(self._entries[number], made_offline=True)
        with contextlib.suppress(Overloaded):  # no room on the disk: it is there all the same, as made online
            await self._run(lambda: self._file.update(entry))
        self._entries[number] = entry

    async def _withdraw(self, number: int) -> None:
        """Takes back what its caller is told was not done.

        Raises:
            Undecided: the disk is full, and it stays.
        """
        try:
            await to_its_end(self._forget([number]))
        except Overloaded as full:
            raise Undecided(f"it is kept, since it cannot be taken back: {full.message}") from full
        finally:
            self._state = self._speculative()

    async def _send(self, timeout_s: float | None, is_over: Callable[[], bool] = lambda: False) -> Refused | None:
        """Has what waits decided as it was made, until that is over; how others interfered, or None."""
        interference: Refused | None
        if await self._run(self._file.settling):
            interference = Conflict("others interfered, and a reconciliation was cut: call it again")
        else:
            reconciler = self._reconciler(timeout_s)
            try:
                interference = await reconciler.append(is_over)
            finally:
                self._take(reconciler)
        self._interfered = interference is not None
        self._cut_off = self._cut_off and bool(self.queued)  # what was added meanwhile comes first
        self._changed.set()
        return interference

    async def _shorten(self) -> None:
        """Writes the base anew once what was decided since takes as much. Under both locks."""
        held = sum(entry.size_bytes for entry in self._entries.values())
        if held > max(KEPT_BYTES, len(self._base.state_json)) and not self.queued:
            await to_its_end(self._begin(Base(self.seq, encode(self._state))))

    async def _settle(self, reconciler: Reconciler, why: Refused, how: OnInterference) -> None:
        settling = await self._run(self._file.settling)
        if not settling and how != "refuse":
            name = f"offline-{self._id.hex()[:8]}-{reconciler.appended_seq}"
            settling = _BRANCH + name if how == "branch" else _REBASE
            await self._run(lambda: self._file.begin_settling(settling))
        try:
            if settling.startswith(_BRANCH):
                await reconciler.branch(settling.removeprefix(_BRANCH))
            elif settling == _REBASE:
                await reconciler.rebase(_resolver(how))
            else:
                await reconciler.refuse(why)
        finally:
            self._take(reconciler)

    async def _end_round(self, reconciler: Reconciler, timeout_s: float | None) -> ReconcileReport:
        head = await self._line.head(timeout_s)
        branch = next((each.branch for each in reconciler.settled if each.branch), "")
        report = ReconcileReport(reconciler.settled, branch, reconciler.left_seq, head.seq)
        await to_its_end(self._ended(Base(head.seq, encode(head.state)), report))
        return report

    async def _ended(self, base: Base, report: ReconcileReport) -> None:
        await self._begin(base, _written_report(report))
        self._chosen_offline = self._interfered = self._cut_off = False
        self._refusals.clear()
        self._changed.set()
        self._last_report = report

    def _reconciler(self, timeout_s: float | None) -> Reconciler:
        return Reconciler(self._line, self._file, self._run, self._base, tuple(self._entries.values()), timeout_s)

    def _take(self, reconciler: Reconciler) -> None:
        """What the reconciler came to know; what was added meanwhile stays."""
        for entry in reconciler.entries:
            self._entries[entry.number] = entry
        if reconciler.refusals:
            self._refusals |= reconciler.refusals
            self._state = self._speculative()

    def _speculative(self) -> JSON:
        """The base with all that was done since and not refused. What does not fit any more is left out."""
        state = decode(self._base.state_json)
        for entry in self._entries.values():
            if entry.fate is not Fate.REFUSED:
                with contextlib.suppress(Refused):
                    state = apply(state, entry.mutations)
        return state

    async def _keep_sending(self) -> None:
        """Brings home what waits when a majority is back, while nobody interfered and nobody chose to be offline."""
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (self.queued or self._cut_off) and not (self._chosen_offline or self._interfered):
                try:
                    await self._come_home()
                    attempt = 0
                except _OUT_OF_REACH:
                    self._out_of_touch()
                    attempt += 1
                    await asyncio.sleep(wait_s(attempt, self._line.outside.rng))
                except TallystickError:
                    break  # the file or the log is damaged: who appends or reconciles is told
            with contextlib.suppress(TallystickError):  # there will be another time
                async with self._adding, self._busy:
                    await self._shorten()

    async def _come_home(self) -> None:
        """Has what waits decided; if nothing does, looks whether a majority is there."""
        if self.queued:
            async with self._busy:
                await self._send(self._patience_s, lambda: self._chosen_offline)
            return
        head = await self._line.head(self._patience_s)
        async with self._adding, self._busy:
            if self._cut_off and not self.queued and head.seq >= self.seq:
                await to_its_end(self._begin(Base(head.seq, encode(head.state))))
            self._cut_off = self._cut_off and bool(self.queued)
            self._changed.set()

    def _run(self, work: Callable[[], T]) -> Awaitable[T]:
        if self._is_closed:
            raise Undecided("the outbox was closed meanwhile; what it holds is in its file")
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


def _written_report(report: ReconcileReport) -> bytes:
    """Without the values in conflict: what they were about is in the entries."""
    settled = [[each.number, each.fate, each.seq, each.branch, each.reason] for each in report.settled]
    return orjson.dumps([settled, report.branch, report.base_seq, report.head_seq])


def _read_report(text: bytes) -> ReconcileReport | None:
    if not text:
        return None
    settled, branch, base_seq, head_seq = orjson.loads(text)
    fates = tuple(Settled(number, Fate(fate), seq, where, reason) for number, fate, seq, where, reason in settled)
    return ReconcileReport(fates, branch, base_seq, head_seq)


def _resolver(how: OnInterference) -> MergeResolver | None:
    return None if how == "branch" or how == "refuse" or how == "rebase" else how
