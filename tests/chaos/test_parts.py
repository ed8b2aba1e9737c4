"""The parts of the chaos run by themselves: each has to be able to find what it is there to find."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice
from typing import Final

import pytest

from tallystick.testing import History, check_linearizability, check_witness
from tests.chaos.connected import Trouble
from tests.chaos.generations import KEY_OPERATIONS_MAX, OPEN_MAX, UNDECIDED_MAX, Generation, Generations
from tests.chaos.log_model import EMPTY, log_model, log_of
from tests.chaos.nemesis import LASTS_S, MAJORITY_LASTS_S, Kind, rounds
from tests.chaos.progress import Progress
from tests.chaos.report import Figures
from tests.cluster.harness_ledger import Entry, Findings, Ledger, cause_of, number_of
from tests.cluster.recorded_page import replaced

NODES: Final = ("a", "b", "c")


# Whether a majority is connected.


@pytest.mark.parametrize(
    ("silent", "cuts", "expected"),
    [
        (set(), set(), True),
        ({"a"}, set(), True),
        ({"a", "b"}, set(), False),
        (set(), {("a", "b")}, True),  # c reaches both
        ({"c"}, {("b", "a")}, False),
        (set(), {("a", "b"), ("b", "c"), ("c", "a")}, False),
        (set(), {("clients", "a")}, True),
        ({"b"}, {("a", "clients")}, False),
        (set(), {("clients", "a"), ("b", "clients")}, False),
    ],
)
def test_a_majority_is_connected(silent: set[str], cuts: set[tuple[str, str]], expected: bool) -> None:
    assert Trouble(silent, cuts).has_majority(NODES) is expected


def test_a_partition_cuts_between_its_groups_only() -> None:
    trouble = Trouble()
    trouble.partition([["a"]], NODES)
    assert trouble.cuts == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    trouble = Trouble()
    trouble.partition([["a"], ["b"], ["c"]], NODES)
    assert len(trouble.cuts) == 6 and not trouble.has_majority(NODES)


# The longest time without an acknowledgement.


def test_time_without_progress_counts_while_there_is_a_majority() -> None:
    progress = Progress(0.0)
    progress.acknowledged(1.0)
    progress.acknowledged(1.5)
    progress.changed(2.0, has_majority=False, faults="kill of a, b")
    progress.acknowledged(50.0)  # it was under way
    progress.changed(100.0, has_majority=True, faults="end of kill")
    progress.changed(101.0, has_majority=True, faults="pause of c")
    assert progress.longest_s == 1.0
    progress.acknowledged(103.5)
    assert progress.longest_s == 3.5 and progress.longest_under == ("end of kill", "pause of c")
    assert progress.without_majority_s == 98.0
    progress.changed(110.0, has_majority=False, faults="all")
    assert progress.longest_s == 6.5 and progress.longest_under == ("pause of c", "all")


# The rounds of a seed.


def test_a_seed_gives_the_same_rounds_and_another_gives_others() -> None:
    first = list(islice(rounds(7, NODES), 100))
    assert first == list(islice(rounds(7, NODES), 100))
    assert first != list(islice(rounds(8, NODES), 100))


@pytest.mark.parametrize("nodes", [NODES, tuple("abcde"), tuple("abcd"), ("a", "b")])
def test_rounds_have_every_kind_of_fault_and_most_leave_a_majority(nodes: tuple[str, ...]) -> None:
    drawn = list(islice(rounds(1, nodes), 1000))
    kinds = Counter(fault.kind for each in drawn for fault in each.faults)
    assert set(kinds) == set(Kind) and min(kinds.values()) > 100
    minority = [each for each in drawn if each.victims <= max(1, (len(nodes) - 1) // 2)]
    assert 700 < len(minority) < 950 or len(nodes) == 2
    for each in drawn:
        assert 1 <= len(each.faults) <= 3 and len({fault.kind for fault in each.faults}) == len(each.faults)
        assert len({Kind.KILL, Kind.PAUSE} & {fault.kind for fault in each.faults}) <= 1
        assert all(fault.lasts_s <= max(LASTS_S[1], MAJORITY_LASTS_S[1]) for fault in each.faults)
        assert len(set(each.hit("b"))) == each.victims
    led = sum(each.hit("b")[0] == "b" for each in minority)
    assert led > 0.45 * len(minority)


# What operations on a log mean.


def _history(read: list[int], cas_result: bool | None = True) -> History:
    history = History()
    history.begin("p", "k", "append", 7, at_s=0.0).ok(at_s=1.0, result=1, revision=1)
    compared = history.begin("p", "k", "cas", [1, 8], at_s=2.0)
    if cas_result is None:
        compared.undecided(at_s=3.0)
    else:
        compared.ok(at_s=3.0, result=cas_result, revision=2 if cas_result else None)
    history.begin("p", "k", "read", at_s=4.0).ok(at_s=5.0, result=[*log_of(read)], revision=2)
    return history


@pytest.mark.parametrize(
    ("read", "cas_result", "valid"),
    [
        ([7, 8], True, True),
        ([8, 7], True, False),
        ([7], True, False),
        ([7, 7, 8], True, False),
        ([7, 8], None, True),
        ([7], None, True),
        ([7], False, False),
    ],
)
def test_the_checkers_know_logs(read: list[int], cas_result: bool | None, valid: bool) -> None:
    history = _history(read, cas_result)
    assert bool(check_linearizability(history, log_model())) is valid
    # The witness goes by revisions, and a refusal has none.
    assert bool(check_witness(history, log_model())) is (valid or cas_result is False)


def test_other_operations_are_refused() -> None:
    assert log_of([]) == EMPTY
    history = History()
    history.begin("p", "k", "write", 1, at_s=0.0).ok(at_s=1.0)
    with pytest.raises(ValueError, match="no operation on a log"):
        check_linearizability(history, log_model())


# The ledger.


def _logs(*numbers: int) -> list[Entry]:
    return [Entry(seq, number, bytes([number])) for seq, number in enumerate(numbers, start=1)]


def _ledger() -> Ledger:
    ledger = Ledger()
    ledger.acknowledged("x", 1, 10)
    ledger.acknowledged("x", 3, 12)
    ledger.undecided("x", 11)
    return ledger


def test_what_was_told_and_is_there_is_clean() -> None:
    found = _ledger().compare("x", {"a": _logs(10, 11, 12), "b": _logs(10, 11, 12)})
    assert found.is_clean and found.compared == 4 and not found.texts
    assert list(_ledger().told("x")) == [(1, 10), (3, 12)]
    assert number_of(cause_of(12)) == 12


@pytest.mark.parametrize(
    ("a", "b", "wrong"),
    [
        ([10, 11, 12], [10, 11], "lost differing"),
        ([10, 11, 12, 10], [10, 11, 12, 10], "twice misplaced"),
        ([10, 12, 11], [10, 12, 11], "misplaced"),
        ([10, 11, 12, 13], [10, 11, 12, 13], "strangers"),
        ([], [], "lost"),
    ],
)
def test_what_is_wrong_is_found(a: list[int], b: list[int], wrong: str) -> None:
    found = _ledger().compare("x", {"a": _logs(*a), "b": _logs(*b)})
    assert not found.is_clean and found.texts
    names = ("lost", "twice", "misplaced", "strangers", "differing")
    assert [name for name in names if getattr(found, name)] == wrong.split()


def test_equal_numbers_with_other_hashes_differ() -> None:
    other = [Entry(entry.seq, entry.number, b"other") for entry in _logs(10, 11, 12)]
    assert _ledger().compare("x", {"a": _logs(10, 11, 12), "b": other}).differing == 1


def test_gaps_and_two_writes_at_one_seq_are_found() -> None:
    gap = [Entry(1, 10, b""), Entry(3, 12, b"")]
    assert _ledger().compare("x", {"a": gap}).misplaced == 1
    ledger = _ledger()
    ledger.acknowledged("x", 1, 13)
    assert ledger.seen_at_once().misplaced == 1


def test_a_run_that_found_nothing_to_judge_is_not_clean() -> None:
    assert not Findings().is_clean
    assert not Figures(seed=1, findings=Findings(compared=1)).is_clean


# Generations.


async def test_a_full_generation_is_judged_once_its_last_operation_has_ended() -> None:
    judged: list[Generation] = []
    may_judge = asyncio.Event()

    async def judge(generation: Generation) -> None:
        await may_judge.wait()
        judged.append(generation)

    async with asyncio.TaskGroup() as tasks:
        generations = Generations("g", judge, tasks)
        slow = await generations.enter()
        for _ in range(OPEN_MAX):
            generation = await generations.enter()
            generation.history.begin("p", generation.agents[0], "append", 1, at_s=0.0)
            generation.undecided = UNDECIDED_MAX
            generation.leave(generation.agents[0])
        assert generations.open_count == OPEN_MAX
        waits = asyncio.ensure_future(generations.enter())
        may_judge.set()
        last = await waits
        assert slow not in judged and len(judged) >= 1  # an operation is under way in it
        slow.leave(slow.agents[0])
        last.leave(last.agents[0])
        for _ in range(KEY_OPERATIONS_MAX):
            last.enter()
            last.leave(last.agents[0])
        assert last.is_full
        generations.finish()
    assert slow in judged and generations.open_count == 0


# The page.


def test_a_section_is_replaced_and_the_rest_stays() -> None:
    page = "# A\n<!-- x -->\nold\n<!-- end of x -->\nrest\n<!-- y --><!-- end of y -->\n"
    assert replaced(page, "x", "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no marks"):
        replaced(page, "z", "new")
