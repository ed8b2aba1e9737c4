"""What operations mean: small pure functions from a state to the next.

Rules of this file:
- An effect is made once from an operation and applied to many states. It returns the state afterwards, or None: the
  operation, with its result, cannot have happened in this state. It changes nothing in place.
- A state is hashable, never None, and equal to another exactly if the values are.
- A read leaves the state as it is. An undecided operation has no result to agree with: it can happen in any state.
- An argument that is none of the model's is the caller's mistake (ValueError); such a result is the store's, and fits
  no state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from tallystick.testing.history import JSON, Operation

S = TypeVar("S", bound=Hashable)
Effect: TypeAlias = Callable[[S], S | None]
Frozen: TypeAlias = str | int | float | tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Model(Generic[S]):
    """A kind of value.

    Attributes:
        initial: the state of a key that nothing was done to.
        effect_of: what an operation does; raises ValueError if it is none of this model's.
    """

    initial: S
    effect_of: Callable[[Operation], Effect[S]]


def freeze(value: JSON) -> Frozen:
    """A hashable twin of a JSON value, equal to another's exactly if the values are equal as JSON.

    Raises:
        ValueError: NaN, which equals nothing.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):  # tuples, for to Python True is 1, and None is no state
        return ("atom", str(value))
    if isinstance(value, int | float):
        if value != value:
            raise ValueError("NaN is not JSON")
        return value
    if isinstance(value, list):
        return ("list", *map(freeze, value))
    return ("object", *((name, freeze(value[name])) for name in sorted(value)))


def register(initial: JSON = None) -> Model[Frozen]:
    """A value that is read, written, and compared and set."""
    return Model(freeze(initial), _register_effect)


def counter(initial: int = 0) -> Model[int | float]:
    """A number that is read and incremented."""
    return Model(initial, _counter_effect)


def append_only_list() -> Model[tuple[Frozen, ...]]:
    """A list, empty at first, that is read whole and appended to. A step costs its length: for some thousands."""
    return Model((), _list_effect)


def _register_effect(operation: Operation) -> Effect[Frozen]:
    if operation.kind == "read":
        return _reads(freeze(operation.result))
    if operation.kind == "write":
        written = freeze(operation.argument)
        return lambda _: written
    if operation.kind == "cas":
        return _cas_effect(operation)
    raise _foreign("register", operation)


def _cas_effect(operation: Operation) -> Effect[Frozen]:
    pair, done = operation.argument, operation.result
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"the argument is not [expected, new]: {operation}")
    if not isinstance(done, bool) and operation.outcome == "ok":
        raise ValueError(f"the result is not whether it was done: {operation}")
    expected, new = freeze(pair[0]), freeze(pair[1])

    def effect(state: Frozen) -> Frozen | None:
        if done is None:
            return new if state == expected else state
        if (state == expected) is not done:
            return None
        return new if done else state

    return effect


def _counter_effect(operation: Operation) -> Effect[int | float]:
    if operation.kind == "read":
        return _reads(freeze(operation.result))
    by, result = operation.argument, operation.result
    if operation.kind != "increment" or isinstance(by, bool) or not isinstance(by, int | float):
        raise _foreign("counter", operation)
    if result is None:
        return lambda state: state + by
    told = freeze(result)
    return lambda state: state + by if state + by == told else None


def _list_effect(operation: Operation) -> Effect[tuple[Frozen, ...]]:
    if operation.kind == "read":
        read = operation.result
        return _reads(tuple(map(freeze, read)) if isinstance(read, list) else None)
    if operation.kind != "append":
        raise _foreign("append-only list", operation)
    element = freeze(operation.argument)
    if operation.result is None:
        return lambda state: (*state, element)
    length = freeze(operation.result)
    return lambda state: (*state, element) if len(state) + 1 == length else None


def _reads(result: Hashable) -> Effect[S]:
    return lambda state: state if state == result else None


def _foreign(model: str, operation: Operation) -> ValueError:
    return ValueError(f"a {model} has no such operation: {operation}")
