"""Plans of two shapes, and what brings the old one to the new one: for tests of schemas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tallystick import JSON, Agent, Client, Schema, ops
from tallystick.schemas import Upcaster, upcaster
from tallystick.testing import SimCluster

T = TypeVar("T")

PLANS: Final = "state of planner-"

FIRST: Final[dict[str, JSON]] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "tasks": {"type": "array", "items": {"type": "string"}}},
    "required": ["tasks"],
    "additionalProperties": False,
}
SECOND: Final[dict[str, JSON]] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "tasks": {"type": "object", "additionalProperties": {"type": "string"}}},
    "required": ["tasks"],
    "additionalProperties": False,
}


def _by_number(state: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """Does not do twice: it would have no list to number."""
    tasks = {f"t{number}": task for number, task in enumerate([*iter_list(state["tasks"])])}
    return {**state, "tasks": tasks}  # type: ignore[dict-item]


def iter_list(value: list[str]) -> list[str]:
    """The list; raises TypeError if it is none."""
    if not isinstance(value, list):
        raise TypeError(f"no list: {value!r}")
    return value


BY_NUMBER: Final[Upcaster] = upcaster(PLANS, from_version=1)(_by_number)


def run(scenario: Callable[[SimCluster], Awaitable[T]], *, nodes: int = 1, seed: int = 1) -> T:
    """Runs it on so many nodes."""
    with SimCluster(nodes=nodes, seed=seed) as cluster:
        return cluster.run(scenario)


async def begin(client: Client, *names: str) -> Schema:
    """Plans of the first shape, and both versions registered."""
    await client.schemas.register(PLANS, FIRST)
    for name in names:
        await client.agent(name).append(ops.replace({"tasks": ["look", "leap"]}))
    return await client.schemas.register(PLANS, SECOND, compatibility="none")


async def migrations(agent: Agent) -> int:
    """How often its state was brought up."""
    return sum([mutation.cause.startswith("migrate:") async for mutation in agent.log()])
