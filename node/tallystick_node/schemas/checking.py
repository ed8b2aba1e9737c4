"""Checks what is about to be proposed against the schemas of its namespace, and sees to it that what is decided is what
was checked.

A command says what it was checked against: the schemas up to a position, and the head of the log on which a state was
folded. Where that no longer holds when it is decided, it is refused there as unchecked, and checked and proposed again.

Rules of this file:
- What core refuses by itself is not refused here: it is proposed, and its refusal is the decided one.
- A value that is not valid is refused only once this node has caught up: another may have written what makes it valid.
- The states of a run of appends to one log are folded one upon the other, and taken back before others have a turn.
- One run at a time checks a log whose states have a schema: others of this node wait, instead of failing in turns.
- A known key is answered by core, whatever the state is now.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

from tallystick.errors import Invalid, Overloaded, Reason, Refused, Unavailable, Undecided
from tallystick.v1 import state_pb2
from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.core import schemas
from tallystick_node.core.appending import advanced, decide_mutations, fold
from tallystick_node.core.commands import Append, Part, Target, Transact
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import Outcome, Refusal
from tallystick_node.core.schema_records import SchemaOf, StateSchema, Subject
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import JsonValue, load_json
from tallystick_node.schemas.validators import Validators
from tallystick_node.storage.registry_reads import RegistryReads
from tallystick_node.wire.commands import encode_command, encode_request, join_commands
from tallystick_node.wire.mutations import STATE_KIND

ATTEMPTS: Final = 16
"""How often a command is checked again because others wrote in between."""


class Asked(NamedTuple):
    """An append that a client asks for: the command as far as it is known, its mutations as handed in, and its key."""

    command: Append
    messages: Sequence[state_pb2.Mutation]
    key: str


@dataclass(slots=True)
class _State:
    """A log whose states have a schema, as it will be once what was checked on it is decided."""

    log: LogRecord
    document: Document
    newest: StateSchema
    present: StateSchema | None


class NotValid(Exception):
    """A value is not valid as far as this node knows. `refused`: what to say once it has caught up."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class Checks:
    """See the module."""

    def __init__(self, access: Access, reads: RegistryReads, validators: Validators) -> None:
        self._access = access
        self._reads = reads
        self._validators = validators
        self._turns: dict[Target, tuple[asyncio.Lock, int]] = {}

    async def decide(self, asked: Sequence[Asked], timeout_s: float) -> list[Outcome | Refused]:
        """What is decided of appends, in their order; each has an outcome of its own, and a refusal may come from here.

        Raises:
            Unavailable: nothing happened.
            Undecided: it may have; ask again with the same key.
        """
        deadline = _now() + timeout_s
        done: list[Outcome | Refused] = []
        try:
            for (_, target), run in groupby(asked, self._runs_together):
                async with self._turn([target] if target is not None else [], deadline):
                    await self._decide_run(list(run), done, deadline)
        except Unavailable as error:
            if done:
                raise Undecided(f"{len(done)} of {len(asked)} were decided, and then: {error.message}") from error
            raise
        return done

    async def transact(
        self, command: Transact, messages: Sequence[Sequence[state_pb2.Mutation]], timeout_s: float
    ) -> Outcome:
        """What is decided of a transaction; `messages`: of each part, its mutations as handed in. Raises as `decide`.

        Raises:
            Refused: a part is not valid; the metadata name it.
        """
        deadline = _now() + timeout_s
        governed = sorted(part.target for part in command.parts if self._reads.governing(part.target) is not None)
        key = command.idempotency.key if command.idempotency is not None else ""
        async with self._turn(governed, deadline):
            is_current = False
            for _ in range(ATTEMPTS):
                try:
                    checked = self._checked_transaction(command, messages, key)
                except NotValid as found:
                    if is_current:
                        raise found.refused from None
                    is_current = await self._catch_up(deadline)
                    continue
                (outcome,) = await self._access.propose(encode_command(checked), _left(deadline))
                if not _is_unchecked(outcome):
                    return outcome
        raise _too_busy()

    async def _decide_run(self, run: Sequence[Asked], done: list[Outcome | Refused], deadline: float) -> None:
        """Adds what comes of each to `done`."""
        is_current, attempts, first = False, 0, len(done)
        while len(done) < first + len(run):
            before = len(done)
            encoded, not_valid = self._checked_run(run[before - first :])
            for command in join_commands(encoded):
                outcomes = await self._access.propose(command, _left(deadline))
                decided = [*_until_unchecked(outcomes)]
                done += decided
                if len(decided) < len(outcomes):
                    break
            if encoded or not_valid is None:
                attempts = attempts + 1 if len(done) == before else 0
                if attempts == ATTEMPTS:
                    raise _too_busy()
            elif is_current or not isinstance(not_valid, NotValid):
                done.append(not_valid.refused if isinstance(not_valid, NotValid) else not_valid)
            else:
                is_current = await self._catch_up(deadline)

    def _runs_together(self, asked: Asked) -> tuple[str, Target | None]:
        """Appends of a run: if one is unchecked, so are all behind it, so that none is decided out of its turn."""
        target = asked.command.target
        return target.namespace, target if self._reads.governing(target) is not None else None

    def _checked_run(self, run: Sequence[Asked]) -> tuple[list[bytes], NotValid | Refused | None]:
        """Those that may be proposed, and why the one behind them may not."""
        encoded: list[bytes] = []
        with self._folding(run[0].command.target) as state:
            for asked in run:
                try:
                    encoded.append(encode_request(self._checked(asked, state), asked.key))
                except (NotValid, Refused) as error:
                    return encoded, error
        return encoded, None

    def _checked_transaction(
        self, command: Transact, messages: Sequence[Sequence[state_pb2.Mutation]], key: str
    ) -> Transact:
        position = self._reads.position(command.parts[0].target.namespace)
        if not position or self._is_known(command.parts[0].target, key):
            return replace(command, schemas=position)
        parts: list[Part] = []
        for at, (part, handed_in) in enumerate(zip(command.parts, messages, strict=True)):
            if not part.mutations:
                parts.append(part)
                continue
            append = Append(command.time_unix_ms, part.target, part.mutations, None, part.expected_seq)
            try:
                with self._folding(part.target) as state:
                    head = self._checked(Asked(append, handed_in, ""), state).head
            except NotValid as found:
                found.refused.metadata.update(part=str(at), agent=part.target.agent, branch=part.target.branch)
                raise
            parts.append(part._replace(head=head))
        return replace(command, parts=tuple(parts), schemas=position)

    def _checked(self, asked: Asked, state: _State | None) -> Append:
        """The command with what it was checked against; `state` goes on to what comes of it.

        Raises:
            NotValid: a value is not.
        """
        command = asked.command
        position = self._reads.position(command.target.namespace)
        if not position:
            return command
        if self._is_known(command.target, asked.key):
            return replace(command, schemas=position)
        self._check_events(command.target.namespace, asked.messages)
        if state is None:
            return replace(command, schemas=position)
        head = state.log.hash
        if command.expected_seq in {None, state.log.seq}:
            self._check_state(command, state)
        return replace(command, schemas=position, head=head)

    def _is_known(self, target: Target, key: str) -> bool:
        """Whether the key was decided before: then core answers what was decided, whatever holds now."""
        return bool(key) and self._access.looked_up(lambda: self._reads.remembers(target, key))

    def _check_events(self, namespace: str, messages: Iterable[state_pb2.Mutation]) -> None:
        for at, message in enumerate(messages):
            if message.kind in {"", STATE_KIND}:
                continue
            subject = Subject(SchemaOf.EVENT, message.kind)
            newest = self._reads.newest_version(namespace, subject)
            if not newest:
                continue
            version = message.schema_version or newest
            if version > newest:
                raise NotValid(schemas.not_found(subject, version))
            value = load_json(message.payload) if message.payload else None
            self._check_value(namespace, subject, version, value, {"mutation": str(at)})

    def _check_state(self, command: Append, state: _State) -> None:
        """Folds the mutations onto the state; where core will refuse them, the state stays as it is."""
        mark = state.document.mark()
        try:
            rising = schemas.rising(state.newest, state.present, state.log.seq, command.mutations)
            fold(state.document, command.mutations)
        except Refused:
            state.document.rollback_to(mark)
            return
        present = rising[-1][1] if rising else state.present
        if present is not None and any(mutation.operations for mutation in command.mutations):
            subject = Subject(SchemaOf.STATE, present.prefix)
            try:
                self._check_value(command.target.namespace, subject, present.version, state.document.root, {})
            except NotValid:
                state.document.rollback_to(mark)
                raise
        events = decide_mutations(state.log, 0, command.time_unix_ms, command.actor, command.mutations)
        state.log = advanced(state.log, events[-1], command.mutations, state.document)
        state.present = present

    def _check_value(
        self, namespace: str, subject: Subject, version: int, value: JsonValue, metadata: dict[str, str]
    ) -> None:
        record = self._access.looked_up(lambda: self._reads.schema(namespace, subject, version))
        problem = self._validators.problem(record.document, record.hash, value)
        if problem is not None:
            named = {"subject": str(subject), "version": str(version), "path": problem.path, "rule": problem.rule}
            raise NotValid(
                Invalid(
                    f"version {version} of {str(subject)!r} at {problem.path or 'the root'}: {problem.message}",
                    reason=Reason.SCHEMA_VIOLATION,
                    metadata={**named, **metadata},
                )
            )

    @contextlib.contextmanager
    def _folding(self, target: Target) -> Iterator[_State | None]:
        """The log, if its states have a schema, to be folded upon; all of it is taken back."""
        newest = self._reads.governing(target)
        if newest is None:
            yield None
            return
        found = self._access.looked_up(lambda: self._reads.head(target))
        if found is None:
            yield _State(LogRecord(0, target), Document.empty(), newest, None)
            return
        present = self._access.looked_up(lambda: self._reads.state_version(found.log))
        try:
            yield _State(found.log, found.document, newest, present)
        finally:
            found.document.rollback()

    @contextlib.asynccontextmanager
    async def _turn(self, targets: Sequence[Target], deadline: float) -> AsyncIterator[None]:
        """Nobody else of this node checks these logs meanwhile; they come in the order of their names.

        Raises:
            Overloaded: others did until the deadline.
        """
        async with contextlib.AsyncExitStack() as stack:
            for target in targets:
                await stack.enter_async_context(self._turn_at(target, deadline))
            yield

    @contextlib.asynccontextmanager
    async def _turn_at(self, target: Target, deadline: float) -> AsyncIterator[None]:
        lock, waiting = self._turns.get(target, (asyncio.Lock(), 0))
        self._turns[target] = (lock, waiting + 1)
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await lock.acquire()
            except TimeoutError:
                raise _too_busy() from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, waiting = self._turns.pop(target)
            if waiting > 1:
                self._turns[target] = (lock, waiting - 1)

    async def _catch_up(self, deadline: float) -> bool:
        await self._access.ready(ReadFrom(Consistency.LINEARIZABLE, 0, _left(deadline)))
        return True


def _until_unchecked(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        if _is_unchecked(outcome):
            return
        yield outcome


def _is_unchecked(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and schemas.UNCHECKED in outcome.metadata


def _now() -> float:
    return asyncio.get_running_loop().time()


def _left(deadline: float) -> float:
    """What is left of the time of a call.

    Raises:
        Overloaded: nothing.
    """
    left = deadline - _now()
    if left <= 0:
        raise _too_busy()
    return left


def _too_busy() -> Overloaded:
    return Overloaded("others wrote in between, each time that it was checked against the schemas of its namespace")
