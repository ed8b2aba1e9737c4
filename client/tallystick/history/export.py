"""Writes a log, as it is now, to a file that verifies without any node: see `export_format`.

Rules of this file: it makes no signature itself: signing is a function that the caller brings, so that the client needs
no cryptography.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import orjson

from tallystick._json import JSON
from tallystick._values import Checkpoint, DecidedMutation
from tallystick.errors import Compacted, Corrupt
from tallystick.history.beginning import beginning
from tallystick.history.chain import Chain
from tallystick.history.export_format import (
    BASED_VERSION,
    FORMAT,
    SIGNED,
    STATE_PIECE_BYTES,
    VERSION,
    ExportedBase,
    Sign,
)

if TYPE_CHECKING:
    from tallystick._agent import Agent


async def export(
    agent: Agent, *, sign: Sign | None = None, timeout_s: float | None = None
) -> AsyncGenerator[bytes, None]:
    """The lines of an export of the log as it is now, its chain checked on the way.

    Example:
        with open("ann.tallylog", "wb") as file:
            async for line in export(agent): file.write(line)

    Raises:
        NotFound: the agent does not exist.
        Compacted: the log was compacted meanwhile: export it anew.
        Corrupt: the log is not what was decided.
    """
    base = await _base(agent, timeout_s)
    kept = await agent.state_digest(timeout_s=timeout_s)
    running = hashlib.sha256()
    chain = Chain() if base is None else Chain(seq=base.seq, head=base.hash)
    checkpoints = mutations = 0
    async with contextlib.aclosing(_records(agent, base, kept.seq, timeout_s)) as records:
        async for record in records:
            if isinstance(record, DecidedMutation):
                chain.follow(record)
                mutations += 1
            elif "checkpoint" in record:
                checkpoints += 1
            line = _line(_mutation(record) if isinstance(record, DecidedMutation) else record)
            running.update(line)
            yield line
    if chain.head != kept.hash:
        raise Corrupt(f"the log ends in another hash at seq {chain.seq} than the state says")
    yield _line({"end": _end(chain, mutations, checkpoints, running.digest(), sign)})


async def _base(agent: Agent, timeout_s: float | None) -> ExportedBase | None:
    """Where the log begins, if its first mutations are gone; None: it has them."""
    kept = await beginning(agent, timeout_s=timeout_s)
    if kept is None:
        return None
    there = await agent.rehydrate(seq=kept.seq, tail=0, timeout_s=timeout_s)
    state = orjson.dumps(there.state, option=orjson.OPT_SORT_KEYS)
    if hashlib.sha256(state).digest() != kept.digest:
        raise Corrupt(f"the state at seq {kept.seq} is not the one that its digest says")
    return ExportedBase(kept.seq, kept.hash, state)


def _head(agent: Agent, base: ExportedBase | None, head_seq: int) -> dict[str, JSON]:
    head: dict[str, JSON] = {
        "format": FORMAT,
        "version": VERSION if base is None else BASED_VERSION,
        "namespace": agent.namespace,
        "agent": agent.name,
        "branch": agent.branch,
        "head_seq": head_seq,
    }
    if base is not None:
        head["base"] = {
            "seq": base.seq,
            "hash": base.hash.hex(),
            "state_digest": hashlib.sha256(base.state).hexdigest(),
            "state_pieces": len(_pieces(base.state)),
        }
    return head


def _pieces(state: bytes) -> list[bytes]:
    return [state[at : at + STATE_PIECE_BYTES] for at in range(0, len(state), STATE_PIECE_BYTES)]


async def _records(
    agent: Agent, base: ExportedBase | None, head_seq: int, timeout_s: float | None
) -> AsyncGenerator[dict[str, JSON] | DecidedMutation, None]:
    """The head, the state at the base, the mutations up to a seq, and each checkpoint behind its mutation."""
    yield _head(agent, base, head_seq)
    for piece in _pieces(base.state) if base is not None else ():
        yield {"state": base64.b64encode(piece).decode()}
    seq = begins = base.seq if base is not None else 0
    taken = agent.checkpoints(timeout_s=timeout_s)
    log = agent.log(after_seq=seq, raw=True, timeout_s=timeout_s)
    async with contextlib.aclosing(taken), contextlib.aclosing(log):
        checkpoint = await anext(taken, None)
        while True:
            while checkpoint is not None and checkpoint.seq <= seq:
                if checkpoint.seq >= begins:  # a pinned one stays where the mutations around it went
                    yield {"checkpoint": _checkpoint(checkpoint)}
                checkpoint = await anext(taken, None)
            if seq == head_seq:
                return
            mutation = await anext(log, None)
            if mutation is None:
                raise Corrupt(f"the log ends at seq {seq}, not at {head_seq}")
            if mutation.seq > seq + 1:
                raise Compacted(f"the mutations behind seq {seq} were removed meanwhile")
            yield mutation
            seq = mutation.seq


def _mutation(decided: DecidedMutation) -> dict[str, JSON]:
    return {
        "seq": decided.seq,
        "time_unix_ms": decided.time_unix_ms,
        "actor": decided.actor,
        "hash": decided.hash.hex(),
        "mutation": base64.b64encode(decided.raw).decode(),
    }


def _checkpoint(taken: Checkpoint) -> dict[str, JSON]:
    return {
        "name": taken.name,
        "seq": taken.seq,
        "step": taken.step,
        "metadata": taken.metadata,
        "pending_calls": taken.pending_calls,
        "state_digest": taken.state_digest.hex(),
        "hash": taken.hash.hex(),
        "actor": taken.actor,
        "time_unix_ms": taken.time_unix_ms,
    }


def _end(chain: Chain, mutations: int, checkpoints: int, digest: bytes, sign: Sign | None) -> dict[str, JSON]:
    end: dict[str, JSON] = {
        "mutations": mutations,
        "checkpoints": checkpoints,
        "hash": chain.head.hex(),
        "sha256": digest.hex(),
    }
    if sign is not None:
        made = sign(SIGNED + digest)
        end["public_key"] = base64.b64encode(made.public_key).decode()
        end["signature"] = base64.b64encode(made.signature).decode()
    return end


def _line(record: dict[str, JSON]) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
