"""Is the plan right, and is it the same everywhere? Each check is a function of what was read: tests lie to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from examples.plan.agents import Notebook
from tallystick import JSON


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it holds, and a figure or a problem."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at.

    Attributes:
        notebook: what the agents did, by their own account.
        plans: the plan as JSON, by agent.
        nodes: the same as each node has it, read from that node.
        disputed: the deadlines that stood beside each other after the partition.
        refused: what the cut-off agent was refused: a majority's acknowledgement, a claim.
    """

    notebook: Notebook
    plans: Mapping[str, Mapping[str, JSON]]
    nodes: Mapping[str, Mapping[str, JSON]]
    disputed: Sequence[JSON]
    refused: Sequence[str]


def verify(evidence: Evidence) -> list[Check]:
    """All checks."""
    return [
        check_equal(evidence),
        check_tasks(evidence),
        check_done_once(evidence),
        check_counter(evidence),
        check_notes(evidence),
        check_dispute(evidence),
        check_refusals(evidence),
    ]


def check_equal(evidence: Evidence) -> Check:
    """All agents and all nodes show the same plan."""
    shown = {**evidence.plans, **evidence.nodes}
    first = next(iter(shown.values()), {})
    different = [name for name, plan in shown.items() if plan != first]
    detail = f"differ: {', '.join(different)}" if different else f"{', '.join(shown)} show one plan"
    return Check("all agents and nodes show the same plan", bool(first) and not different, detail)


def check_tasks(evidence: Evidence) -> Check:
    """Every task that anybody planned is on the board, and done."""
    tasks = _root(evidence, "tasks")
    planned = set(evidence.notebook.planned)
    done = {task for task, fields in tasks.items() if isinstance(fields, dict) and fields.get("status") == "done"}
    return Check("every task that was planned is done", planned == done == set(tasks), f"{len(done)} of {len(planned)}")


def check_done_once(evidence: Evidence) -> Check:
    """No task was done twice, each under a claim of its own."""
    notebook = evidence.notebook
    often = Counter(task for _, task, _ in notebook.counted)
    twice = [task for task, times in often.items() if times > 1]
    ok = bool(often) and not twice and len(set(notebook.epochs)) == len(notebook.epochs) == len(notebook.counted)
    shares = Counter(who for who, _, _ in notebook.counted)
    figures = ", ".join(f"{who} {count}" for who, count in sorted(shares.items()))
    return Check("no task was done twice", ok, f"twice: {twice[0]}" if twice else figures)


def check_counter(evidence: Evidence) -> Check:
    """The counter has every addition, from both sides."""
    total = sum(lines for _, _, lines in evidence.notebook.counted)
    shown = next(iter(evidence.plans.values()), {}).get("lines")
    return Check("the counter has every addition", shown == total, f"{shown} of {total} lines")


def check_notes(evidence: Evidence) -> Check:
    """Every line that anybody told is there once, whole; and nothing else."""
    text = next(iter(evidence.plans.values()), {}).get("notes")
    lines = text.splitlines() if isinstance(text, str) else []
    ok = Counter(lines) == Counter(evidence.notebook.told)
    return Check("every note is there once, whole", ok, f"{len(lines)} of {len(evidence.notebook.told)} lines")


def check_dispute(evidence: Evidence) -> Check:
    """What both sides set was kept until somebody chose."""
    *both, chosen = evidence.notebook.deadlines[-3:] or [""]
    shown = next(iter(evidence.plans.values()), {}).get("deadline")
    ok = len(both) == 2 and sorted(map(str, evidence.disputed)) == sorted(both) and shown == chosen
    return Check("both deadlines were kept until one was chosen", ok, f"{' or '.join(both)}: {shown}")


def check_refusals(evidence: Evidence) -> Check:
    """The side without a majority was told so."""
    ok = sorted(evidence.refused) == ["a claim", "a majority's acknowledgement"]
    return Check("the smaller side was refused what needs a majority", ok, ", ".join(evidence.refused))


def _root(evidence: Evidence, name: str) -> dict[str, JSON]:
    root = next(iter(evidence.plans.values()), {}).get(name)
    return root if isinstance(root, dict) else {}
