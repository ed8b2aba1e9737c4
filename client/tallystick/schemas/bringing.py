"""Bringing the state that is stored to the version that a program works with, before it is written.

Rules of this file:
- It is a mutation of its own, which replaces the state where the log was seen to end: nothing is lost in between, and
  an undo of what the program does afterwards does not undo it.
- Its key is made of what it does, so of many programs that do it at once one does.
- A state of a newer version is never written.
- Nothing is written in a version that is not registered: nobody could tell later what the state looks like.
"""

from __future__ import annotations

import hashlib
from typing import Final

from tallystick import _convert, ops
from tallystick._calls import Calls
from tallystick._json import decode, encode
from tallystick._methods import append_method, get_schema_method, read_method
from tallystick._values import MAIN, Consistency, Mutation, Snapshot
from tallystick.errors import Conflict, Invalid, NotFound, Reason
from tallystick.history.changes import digest, same
from tallystick.history.patches import no_change
from tallystick.schemas.report import CAUSE, Brought
from tallystick.schemas.upcasters import BEFORE_SCHEMAS, Chain
from tallystick.schemas.values import subject_message
from tallystick.schemas.versions import LogName, is_unwritten, newer
from tallystick.v1 import common_pb2, schema_pb2, state_pb2

ATTEMPTS: Final = 8
"""How often it is begun anew when others append meanwhile."""

_KEY_CHARS: Final = 32
_UNWRITTEN: Final = digest({})


class Bringer:
    """Brings one log's state up. `epoch`: of the lease under which it is written; 0: of none."""

    def __init__(self, calls: Calls, ref: common_pb2.AgentRef, *, actor: str, epoch: int) -> None:
        self._calls = calls
        self._ref = ref
        self._actor = actor
        self._epoch = epoch

    @property
    def _log(self) -> LogName:
        return self._ref.agent, self._ref.branch or MAIN

    async def ready(
        self, chain: Chain, expected_seq: int | None, timeout_s: float | None, *, may_be_decided: bool
    ) -> int | None:
        """Makes the state one that this program may write; the `expected_seq` that its write is to carry.

        If the log moved by that, a write that expects what upcasters gave its program expects the new end; any other
        will be refused, for it was thought out on a state of another shape.

        Args:
            may_be_decided: the write carries a key of its caller, and may have been decided before, on an older state:
                then it is for the nodes to refuse it.

        Raises:
            Conflict: `STATE_VERSION`, it has a newer version; `SEQ_CONFLICT`, others keep appending.
            NotFound: `SCHEMA_NOT_FOUND`, the version that this program works with is not registered.
            Invalid: an upcaster is missing; `SCHEMA_VIOLATION`, what upcasters made of the state is not valid.
        """
        versions = self._calls.versions
        if not versions.is_current(self._log):
            await self.check_registered(chain, timeout_s)
            stored = await self._stored_version(timeout_s)
            if stored is not None and stored > chain.version and not may_be_decided:
                raise newer(chain, stored)
            if stored == chain.version:
                versions.saw_current(self._log, stored)
            elif stored is not None and not chain.is_unchanged(stored):
                await self.bring(chain, chain.version, timeout_s, only_at=expected_seq)
        return versions.expected(self._log, expected_seq)

    async def bring(
        self, chain: Chain, to_version: int, timeout_s: float | None, *, only_at: int | None = None
    ) -> Brought | None:
        """Appends what gives the state that version, unless it has it or a newer one, or was not written yet.

        None: there is no such agent.

        Args:
            only_at: do nothing unless the log ends here; what expects it will be refused.

        Raises:
            Conflict: others keep appending.
            Invalid: an upcaster is missing; `SCHEMA_VIOLATION`, what upcasters made of the state is not valid.
        """
        for _ in range(ATTEMPTS):
            try:
                head = await self._head(timeout_s)
            except NotFound as error:
                if error.reason is not Reason.AGENT_NOT_FOUND:
                    raise
                return None
            is_elsewhere = only_at is not None and head.seq != only_at
            if head.state_version >= to_version or is_elsewhere or is_unwritten(head):
                return Brought(head.state_version, head.state_version, head.seq, head.seq)
            try:
                seq = await self._append(chain, head, to_version, timeout_s)
            except (Conflict, Invalid) as error:
                if error.reason not in (Reason.SEQ_CONFLICT, Reason.KEY_REUSED, Reason.STATE_VERSION):
                    raise
                continue
            if to_version == chain.version:
                self._calls.versions.saw_current(self._log, to_version)
                self._calls.versions.saw_brought(self._log, seq)
            return Brought(head.state_version, to_version, head.seq, seq)
        raise Conflict(f"the log moved {ATTEMPTS} times meanwhile: is another writing it?")

    async def upcast(self, chain: Chain, state_json: bytes, seq: int, timeout_s: float | None) -> bytes:
        """A state that the log had at a seq, in the version that this program works with.

        Raises:
            NotFound: the log has no such seq.
            Invalid: an upcaster is missing.
        """
        stored = (await self._read(timeout_s, seq=seq, digest_only=True)).state_version
        return encode(chain.bring(decode(state_json), stored)) if stored < chain.version else state_json

    async def _append(self, chain: Chain, head: Snapshot, to_version: int, timeout_s: float | None) -> int:
        state = chain.bring(head.state, head.state_version, to_version)
        is_same = same(state, head.state)
        cause = f"{CAUSE}{chain.subject}: {head.state_version} to {to_version}"
        change = no_change(head.state) if is_same else ops.replace(state)
        request = state_pb2.AppendRequest(
            agent=self._ref,
            mutations=[_convert.mutation_message(Mutation.of(change, cause=cause, schema_version=to_version))],
            idempotency_key=self._key(head.seq, to_version),
            expected_seq=head.seq,
            epoch=self._epoch,
            actor=self._actor,
        )
        answer = await self._calls.write(append_method, request, key=request.idempotency_key, timeout_s=timeout_s)
        self._calls.session.saw(answer.revision)
        self._calls.observing.wrote(*self._log, answer.first_seq, answer.last_seq, answer.hash)
        return answer.last_seq

    async def check_registered(self, chain: Chain, timeout_s: float | None) -> None:
        """Whether the version that this program works with is registered; asked once for each client.

        Raises:
            NotFound: `SCHEMA_NOT_FOUND`, it is not.
        """
        if self._calls.versions.is_registered(chain):
            return
        consistency = Consistency.LINEARIZABLE
        request = schema_pb2.GetSchemaRequest(
            namespace=self._ref.namespace,
            options=self._calls.session.read_options(consistency),
            subject=subject_message(chain.subject),
            version=chain.version,
        )
        await self._calls.read(get_schema_method, request, consistency=consistency, timeout_s=timeout_s)
        self._calls.versions.saw_registered(chain)

    def _key(self, seq: int, to_version: int) -> str:
        """Equal for all who bring this log from here to that version."""
        named = "\0".join(["migrate", self._ref.namespace, *self._log, str(seq), str(to_version)])
        return hashlib.sha256(named.encode()).hexdigest()[:_KEY_CHARS]

    async def _stored_version(self, timeout_s: float | None) -> int | None:
        """The version of the state at head; None: it was not written yet."""
        try:
            head = await self._read(timeout_s, digest_only=True)
        except NotFound as error:
            if error.reason is not Reason.AGENT_NOT_FOUND:
                raise
            return None
        is_old = head.state_version != BEFORE_SCHEMAS or head.state_digest != _UNWRITTEN
        return head.state_version if is_old else None

    async def _head(self, timeout_s: float | None) -> Snapshot:
        return _convert.snapshot(await self._read(timeout_s, digest_only=False))

    async def _read(
        self, timeout_s: float | None, *, digest_only: bool, seq: int | None = None
    ) -> state_pb2.ReadResponse:
        consistency = Consistency.LINEARIZABLE
        request = state_pb2.ReadRequest(
            agent=self._ref, options=self._calls.session.read_options(consistency), digest_only=digest_only
        )
        if seq is not None:
            request.seq = seq
        return await self._calls.read(read_method, request, consistency=consistency, timeout_s=timeout_s)
