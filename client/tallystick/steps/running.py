"""A step from begin to end: `agent.step`.

Rules of this file:
- The effect is brought about only by who was granted the attempt, once.
- An exception of the effect is recorded and goes on. What is no `Exception` (a cancellation, a signal) is recorded
  nowhere: whether the effect happened is not known, and so it is said.
- What is returned is what a resumed program would get: the result as JSON, read back.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tallystick._json import JSON, JSONLike, decode, encode
from tallystick.errors import Conflict, Reason, TallystickError
from tallystick.steps.steps import BegunStep, Steps
from tallystick.steps.values import Happened, Step, StepError, StepStatus

Effect: TypeAlias = Callable[..., "JSONLike | Awaitable[JSONLike]"]
"""What brings the effect about, and returns JSON. It gets the effect's key if it has a parameter `effect_key`."""

Probe: TypeAlias = "Callable[[Step], Happened | Awaitable[Happened | None] | None]"
"""Looks whether the effect of an ambiguous step happened: `Happened(result)`, or None if it did not."""

OnAmbiguous: TypeAlias = "Literal['raise', 'retry', 'fail'] | Probe"
OnFailed: TypeAlias = Literal["raise", "retry"]

_EFFECT_KEY: Final = "effect_key"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a step is settled that was begun before, and what its mutations say of their cause."""

    on_ambiguous: OnAmbiguous
    on_failed: OnFailed
    cause: str
    timeout_s: float | None


async def run(steps: Steps, name: str, effect: Effect, args: tuple[object, ...], rules: Rules) -> JSON:
    """What the step returned, now or before.

    Raises:
        Conflict: `STEP_AMBIGUOUS` or `STEP_FAILED`, and the rules say so.
        Whatever the effect raises.
    """
    begun = await steps.begin(name, cause=rules.cause, timeout_s=rules.timeout_s)
    if not begun.is_granted:
        settled = await _settle(steps, begun, rules)
        if isinstance(settled, Happened):
            return decode(encode(settled.result))
        begun = settled
    if begun.step.status is StepStatus.COMPLETED:
        return begun.step.result
    return await _bring_about(steps, begun.step, effect, args, rules)


async def _settle(steps: Steps, begun: BegunStep, rules: Rules) -> BegunStep | Happened:
    """A step that was begun before: completed, granted anew, or found to have happened. Raises `Conflict` otherwise."""
    step = begun.step
    if step.status is StepStatus.COMPLETED:
        return begun
    if step.status is StepStatus.FAILED:
        if rules.on_failed == "raise":
            raise failed(step)
    elif rules.on_ambiguous == "raise":
        raise ambiguous(step)
    elif rules.on_ambiguous == "fail":
        error = StepError("Ambiguous", f"attempt {step.attempt} was begun by {step.actor or 'another'}, and given up")
        raise failed(await steps.fail(step.name, step.attempt, error, cause=rules.cause, timeout_s=rules.timeout_s))
    elif callable(rules.on_ambiguous):
        found = rules.on_ambiguous(step)
        found = await found if inspect.isawaitable(found) else found
        if found is not None:
            await _complete(steps, step, found.result, rules)
            return found
    again = await steps.begin(step.name, retry_of=step.attempt, cause=rules.cause, timeout_s=rules.timeout_s)
    if again.is_granted or again.step.status is StepStatus.COMPLETED:
        return again
    raise ambiguous(again.step) if again.is_ambiguous else failed(again.step)  # another retried it at the same time


async def _bring_about(steps: Steps, step: Step, effect: Effect, args: tuple[object, ...], rules: Rules) -> JSON:
    try:
        keyed = {_EFFECT_KEY: step.effect_key} if _wants_key(effect) else {}
        returned = effect(*args, **keyed)
        result: JSONLike = await returned if inspect.isawaitable(returned) else returned
    except Exception as error:
        await _tell_failure(steps, step, error, rules)
        raise
    text = encode(result)  # what cannot be kept happened none the less: the step stays ambiguous
    await _complete(steps, step, result, rules)
    return decode(text)


async def _complete(steps: Steps, step: Step, result: JSONLike, rules: Rules) -> None:
    await steps.complete(step.name, step.attempt, result, cause=rules.cause, timeout_s=rules.timeout_s)


async def _tell_failure(steps: Steps, step: Step, error: Exception, rules: Rules) -> None:
    """Records why it failed. Where that cannot be, the step stays ambiguous, and the exception says so."""
    try:
        await steps.fail(step.name, step.attempt, error, cause=rules.cause, timeout_s=rules.timeout_s)
    except TallystickError as refused:
        error.add_note(f"step {step.name!r}: that it failed could not be recorded: {refused}")


def _wants_key(effect: Effect) -> bool:
    try:
        return _EFFECT_KEY in inspect.signature(effect).parameters
    except (TypeError, ValueError):  # a builtin that does not tell
        return False


def ambiguous(step: Step) -> Conflict:
    """The step was begun, and nobody said what came of it."""
    who = step.actor or "another call"
    return Conflict(
        f"step {step.name!r} was begun by {who} at {step.begun}, and nobody said what came of it",
        reason=Reason.STEP_AMBIGUOUS,
        metadata={"step": step.name, "attempt": str(step.attempt), "effect_key": step.effect_key},
    )


def failed(step: Step) -> Conflict:
    """The step failed before."""
    return Conflict(
        f"step {step.name!r} failed: {step.error}",
        reason=Reason.STEP_FAILED,
        metadata={
            "step": step.name,
            "attempt": str(step.attempt),
            "error_type": step.error.type if step.error is not None else "",
        },
    )
