"""The operations once more, written to be obvious: each makes a new state, and no code is shared with core."""

from __future__ import annotations

import math
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_ABSENT: Json = "\x00absent"
"""Stands for no value; no test makes such a string."""


class Misfit(Exception):
    """The operation does not fit the state."""


def apply_model(state: Json, kind: int, tokens: tuple[str, ...], value: Json) -> Json:
    """The state after one operation, `kind` by its number on the wire."""
    if not tokens:
        return _leaf(state, kind, value)
    head, rest = tokens[0], tokens[1:]
    if isinstance(state, dict):
        return _inside_object(state, kind, head, rest, value)
    if isinstance(state, list):
        return _inside_list(state, kind, head, rest, value)
    raise Misfit


def _inside_object(state: dict[str, Json], kind: int, head: str, rest: tuple[str, ...], value: Json) -> Json:
    if kind == 5 and not rest:
        raise Misfit
    if kind == 2 and not rest:
        if head not in state:
            raise Misfit
        return {key: item for key, item in state.items() if key != head}
    if head in state:
        return {**state, head: apply_model(state[head], kind, rest, value)}
    if kind in {2, 5}:
        raise Misfit
    made = _leaf(_ABSENT, kind, value)
    for token in reversed(rest):
        made = {token: made}
    return {**state, head: made}


def _inside_list(state: list[Json], kind: int, head: str, rest: tuple[str, ...], value: Json) -> Json:
    if not rest and head == "-" and kind in {1, 5}:
        return [*state, value]
    if not (head == "0" or (head.isdigit() and head[0] != "0")):
        raise Misfit
    index = int(head)
    if kind == 5 and not rest and index <= len(state):
        return [*state[:index], value, *state[index:]]
    if index >= len(state):
        raise Misfit
    if kind == 2 and not rest:
        return [*state[:index], *state[index + 1 :]]
    return [*state[:index], apply_model(state[index], kind, rest, value), *state[index + 1 :]]


def _leaf(current: Json, kind: int, value: Json) -> Json:
    """What the operation makes of the value that its path names."""
    if kind in {1, 7}:
        return value
    if kind == 3:
        return _patched(current, value)
    if kind == 4:
        if current is _ABSENT:
            return [value]
        if isinstance(current, list):
            return [*current, value]
    if kind == 6:
        return _added(0 if current is _ABSENT else current, value)
    raise Misfit


def _patched(current: Json, patch: Json) -> Json:
    """RFC 7396, as its pseudocode has it."""
    if not isinstance(patch, dict):
        return patch
    result: dict[str, Json] = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _patched(result.get(key), value)
    return result


def _added(current: Json, by: Json) -> Json:
    for number in (current, by):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise Misfit
    assert isinstance(current, (int, float)) and isinstance(by, (int, float))
    total = current + by
    fits = -(2**63) <= total < 2**64 if isinstance(total, int) else math.isfinite(total)
    if not fits:
        raise Misfit
    return total
