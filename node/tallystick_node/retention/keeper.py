"""Removes, where this node leads, what policies let go of logs: archived first where that is said, then decided.

Rules of this file:
- Nothing is proposed for removal before the archive has it durably. What is proposed names the hash that the archived
  part ends with, so that another log of that name, or one that was changed otherwise, is left alone.
- Whatever ends it between the two (a crash, another leader) leaves a file too many: it is written again, with the same
  bytes, or the next one overlaps it.
- What was planned may be old: what holds mutations is checked again when their removal is decided.
- One log is worked at at a time, a bounded part of it in one go; the loop goes on between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol

from tallystick.errors import NoLeader, NotFound, Overloaded, Refused, TallystickError
from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import Compacted, RetentionPolicy
from tallystick_node.core.tables import LogRecord
from tallystick_node.retention.archives.port import ArchiveFailed
from tallystick_node.retention.archiving import Archiving
from tallystick_node.retention.looking import PART_MUTATIONS, Looks
from tallystick_node.retention.plan import Plan, is_bounded

log = logging.getLogger(__name__)

LOGS_TOLD: Final = 1000
"""Logs that one answer to who asked for a run tells of."""

RUNS_ASKED: Final = 16
"""Runs that are asked for at once."""

DECIDE_TIMEOUT_S: Final = 5.0
"""How long the removal of a part may take to be decided."""

_PAGE: Final = 200


class Compact(Protocol):
    """Has the removal of a log's mutations decided: `RetentionStore.compact`."""

    async def __call__(
        self, target: Target, below_seq: int, hash_: bytes, *, actor: str, timeout_s: float
    ) -> Compacted: ...


@dataclass(slots=True)
class LogRetained:
    """What a run did with a log.

    Attributes:
        first_seq: the oldest mutation that is kept.
        archived_to: where the last part went; empty: nowhere.
        failure: why nothing, or no more, went; empty: all that was planned did.
    """

    target: Target
    first_seq: int
    mutations: int = 0
    size_bytes: int = 0
    checkpoints: int = 0
    archived_to: str = ""
    failure: str = ""


@dataclass(slots=True)
class Retained:
    """What runs on this node came to, since it started.

    Attributes:
        mutations, size_bytes, checkpoints: that went.
        run_unix_ms: when the last run of all policies ended; 0: none did.
        failure, failed_unix_ms: of the last log of which not all went that was planned, and when; empty and 0: none.
    """

    mutations: int = 0
    size_bytes: int = 0
    checkpoints: int = 0
    run_unix_ms: int = 0
    failure: str = ""
    failed_unix_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run that was asked for did since it was asked last; `more`: it is not through."""

    logs: list[LogRetained] = field(default_factory=list)
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run that was asked for, and what it did since who asked was told."""

    task: asyncio.Task[None]
    told: list[LogRetained]


class RetentionKeeper:
    """See the module.

    Args:
        leading: the term that this node leads, as far as it knows; None: it does not.
        unix_ms: says how old mutations are.
        every_s: between two runs.
        actor: who compacts, as events tell it.
    """

    def __init__(
        self,
        looks: Looks,
        archiving: Archiving,
        compact: Compact,
        leading: Callable[[], int | None],
        unix_ms: Callable[[], int],
        *,
        every_s: float,
        actor: str,
    ) -> None:
        self._looks = looks
        self._archiving = archiving
        self._compact = compact
        self._leading = leading
        self._unix_ms = unix_ms
        self._every_s = every_s
        self._actor = actor
        self._one_at_a_time = asyncio.Lock()
        self._asked: dict[tuple[str, str], _Asked] = {}
        self.retained = Retained()

    @property
    def failing(self) -> list[str]:
        """The archives that did not take what they were given last."""
        return sorted(self._archiving.failing)

    async def run(self) -> None:
        """Does what is due, until it is cancelled."""
        try:
            await self._run()
        finally:
            for asked in self._asked.values():
                asked.task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            if self._leading() is not None:
                try:
                    await self.look()
                except TallystickError as error:  # the next run begins anew
                    log.info("retention was interrupted", extra={"event": "retention_stopped", "why": str(error)})

    async def look(self) -> None:
        """One run of all policies.

        Raises:
            NoLeader: this node does not lead, or no longer.
            Unavailable, Undecided: the cluster does not decide now.
        """
        self._term()
        for record in self._looks.policies():
            async with aclosing(self._each(record.namespace, "", record.policy)) as done:
                async for _ in done:
                    pass
        self.retained.run_unix_ms = self._unix_ms()

    async def run_now(self, namespace: str, prefix: str, timeout_s: float) -> Ran:
        """Runs a namespace's policy for agents with the prefix, and waits for that as long; asked again, it waits on.

        Whoever asks does not have to come back: the run goes on.

        Raises:
            NoLeader: this node does not lead, or no longer.
            Overloaded: too many runs were asked for.
            Unavailable, Undecided: the cluster does not decide now; what was removed before stays so.
        """
        self._term()
        key = (namespace, prefix)
        asked = self._asked.get(key) or self._begin(key)
        await asyncio.wait((asked.task,), timeout=timeout_s)
        logs = asked.told[:]
        asked.told.clear()
        if not asked.task.done():
            return Ran(logs, more=True)
        if self._asked.get(key) is asked:
            del self._asked[key]
        await asked.task
        return Ran(logs)

    def _begin(self, key: tuple[str, str]) -> _Asked:
        """Begins a run that was asked for. One that has ended is kept for who asked, while there is room."""
        if len(self._asked) >= RUNS_ASKED:
            self._asked = {key: asked for key, asked in self._asked.items() if not asked.task.done()}
        if len(self._asked) >= RUNS_ASKED:
            raise Overloaded("too many runs of retention were asked for")
        told: list[LogRetained] = []
        task = asyncio.create_task(self._tell(*key, told))
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # perhaps nobody comes back
        self._asked[key] = asked = _Asked(task, told)
        return asked

    async def _tell(self, namespace: str, prefix: str, told: list[LogRetained]) -> None:
        async with aclosing(self._each(namespace, prefix, self._looks.policy(namespace))) as each:
            async for done in each:
                if done is not None and len(told) < LOGS_TOLD:
                    told.append(done)

    async def _each(
        self, namespace: str, prefix: str, policy: RetentionPolicy
    ) -> AsyncGenerator[LogRetained | None, None]:
        """Removes what is due of each log; what that came to, None where nothing was due."""
        if not is_bounded(policy):
            return
        broken: set[str] = set()
        after: Target | None = None
        while True:
            page = self._looks.logs(namespace, prefix, after, _PAGE)
            for record in page.items:
                async with self._one_at_a_time:
                    done = await self._log(record, policy, broken)
                yield done
                await asyncio.sleep(0)
            if not page.more:
                return
            after = page.items[-1].target

    async def _log(self, record: LogRecord, policy: RetentionPolicy, broken: set[str]) -> LogRetained | None:
        """Removes what is due of a log. `broken`: archives that failed in this run are not asked again in it."""
        term = self._term()
        try:
            planned = await self._looks.planned(record, policy, self._unix_ms())
        except NotFound:  # it was deleted meanwhile
            return None
        if not planned.mutations:
            return None
        done = LogRetained(record.target, planned.anchor_seq + 1)
        if policy.archive in broken:
            done.failure = f"the archive {policy.archive!r} failed before in this run"
        else:
            try:
                await self._remove(planned, policy.archive, term, done)
            except ArchiveFailed as error:
                broken.add(policy.archive)
                done.failure = str(error)
            except Refused as error:  # it was deleted, or changed otherwise, meanwhile: the next run looks anew
                done.failure = error.message
            finally:
                self._count(done)
        return done

    async def _remove(self, planned: Plan, archive: str, term: int, done: LogRetained) -> None:
        target, anchor_seq = planned.target, planned.anchor_seq
        while anchor_seq < planned.upto_seq:
            if archive:
                part = await self._looks.part(target, anchor_seq, planned.upto_seq)
                done.archived_to = await self._archiving.put_part(archive, part)
                last_seq, last_hash = part.last.seq, part.last.hash
            else:
                last_seq = min(planned.upto_seq, anchor_seq + PART_MUTATIONS)
                last_hash = self._looks.hash_at(target, last_seq)
            if self._leading() != term:
                raise NoLeader("another node led meanwhile")
            outcome = await self._compact(
                target, last_seq + 1, last_hash, actor=self._actor, timeout_s=DECIDE_TIMEOUT_S
            )
            anchor_seq = outcome.anchor_seq
            done.first_seq = anchor_seq + 1
            done.mutations += outcome.mutations
            done.size_bytes += outcome.size_bytes
            done.checkpoints += outcome.checkpoints
            if not outcome.mutations or any(hold.seq <= anchor_seq < planned.upto_seq for hold in outcome.held):
                done.failure = "what is left of it is held by what was decided meanwhile"
                return

    def _count(self, done: LogRetained) -> None:
        retained = self.retained
        retained.mutations += done.mutations
        retained.size_bytes += done.size_bytes
        retained.checkpoints += done.checkpoints
        if done.failure:
            namespace, agent, branch = done.target
            retained.failure = f"{namespace}/{agent}/{branch}: {done.failure}"
            retained.failed_unix_ms = self._unix_ms()
        if done.mutations:
            log.info(
                "log compacted",
                extra={
                    "event": "log_compacted",
                    "namespace": done.target.namespace,
                    "agent": done.target.agent,
                    "branch": done.target.branch,
                    "first_seq": done.first_seq,
                    "mutations": done.mutations,
                    "archived_to": done.archived_to,
                },
            )

    def _term(self) -> int:
        term = self._leading()
        if term is None:
            raise NoLeader("this node does not lead: the leader runs retention")
        return term
