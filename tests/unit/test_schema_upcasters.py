"""What a program knows of schemas: subjects as text, chains of upcasters, and versions that mutations carry."""

from __future__ import annotations

import pytest

from tallystick import Mutation, Revision, Snapshot, ops
from tallystick._json import JSON
from tallystick.errors import Invalid
from tallystick.schemas import Known, KnownSchemas, Subject, Upcaster, unchanged, upcaster
from tallystick.schemas.upcasters import Chain
from tallystick.schemas.versions import SEEN, Versions

PLANS = Subject.state("planner-")


def adds(subject: str, from_version: int) -> Upcaster:
    """Changes what it is given in place, as many functions do."""

    def grow(state: dict[str, list[int]]) -> dict[str, list[int]]:
        state["was"].append(from_version)
        return state

    return upcaster(subject, from_version=from_version)(grow)


@pytest.mark.parametrize("text", ["event tool_result", "state of planner-", "state", "state of a b", "event state"])
def test_a_subject_is_read_as_it_is_written(text: str) -> None:
    assert str(Subject.parse(text)) == text


@pytest.mark.parametrize("text", ["", "event", "event ", "state of ", "states of x", "planner-"])
def test_what_names_no_subject_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Subject.parse(text)
    assert refused.value.metadata["field"] == "subject"


def test_a_chain_brings_a_value_up_step_by_step_and_leaves_the_old_one_alone() -> None:
    chain = Chain.of(PLANS, [adds(str(PLANS), number) for number in (2, 1, 3)])
    old: JSON = {"was": []}
    assert chain.version == 4
    assert chain.bring(old, 1) == {"was": [1, 2, 3]}
    assert chain.bring(old, 1, 3) == {"was": [1, 2]}
    assert chain.bring(old, 3) == {"was": [3]}
    assert chain.bring(old, 4) == old == {"was": []}


def test_what_was_before_the_first_schema_counts_as_version_1_unless_an_upcaster_begins_there() -> None:
    assert Chain.of(PLANS, [adds(str(PLANS), 1)]).bring({"was": []}, 0) == {"was": [1]}
    both = Chain.of(PLANS, [adds(str(PLANS), 0), adds(str(PLANS), 1)])
    assert both.bring({"was": []}, 0) == {"was": [0, 1]}


def test_a_chain_with_a_gap_is_refused_when_it_is_made() -> None:
    for upcasters, version in (([1, 3], 0), ([1, 1], 0), ([1], 3), ([1, 2], 2)):
        with pytest.raises(Invalid):
            Chain.of(PLANS, [adds(str(PLANS), number) for number in upcasters], version)


def test_a_value_older_than_the_chain_is_refused_by_name() -> None:
    chain = Chain.of(PLANS, [adds(str(PLANS), 2)])
    with pytest.raises(Invalid) as refused:
        chain.bring({"was": []}, 1)
    assert refused.value.metadata == {"subject": "state of planner-", "version": "1"}


def test_an_upcaster_that_fails_is_named() -> None:
    @upcaster("state of planner-", from_version=1)
    def broken(state: dict[str, int]) -> int:
        return state["missing"]

    with pytest.raises(KeyError) as failed:
        Chain.of(PLANS, [broken]).bring({}, 1)
    assert failed.value.__notes__ == ["the upcaster of state of planner- from version 1"]


def test_what_an_upcaster_returns_has_to_be_json() -> None:
    with pytest.raises(Invalid, match="not JSON"):
        upcaster("state", from_version=1)(lambda _state: float("nan"))({})


def test_only_links_that_change_nothing_leave_a_value_as_it_is() -> None:
    chain = Chain.of(PLANS, [unchanged(str(PLANS), from_version=1), adds(str(PLANS), 2)])
    assert chain.is_unchanged(0, 2)
    assert chain.is_unchanged(3)
    assert not chain.is_unchanged(1)


def test_the_longest_prefix_counts() -> None:
    known = KnownSchemas([Known("state", 1), Known("state of plan", 2), Known("state of planner-", 3)])
    versions = {name: known.of_agent(name) for name in ("planner-1", "plans", "ann")}
    assert {name: chain and chain.version for name, chain in versions.items()} == {
        "planner-1": 3,
        "plans": 2,
        "ann": 1,
    }
    assert KnownSchemas([Known("event planner-", 3)]).of_agent("planner-1") is None


def test_two_versions_of_one_subject_are_refused() -> None:
    with pytest.raises(Invalid):
        KnownSchemas([Known("state", 1), Known("state", 2)])
    with pytest.raises(Invalid):
        KnownSchemas([Known("state", 3), adds("state", 1)])
    with pytest.raises(Invalid):
        Known("state", 0)


def test_mutations_carry_the_version_that_the_program_works_with() -> None:
    known = KnownSchemas([Known("event tool_result", 2), adds("state of planner-", 2)])
    states = known.of_agent("planner-1")
    change, event = Mutation.of(ops.set("/n", 1)), Mutation.event("tool_result", {})
    assert known.stamped(change, states).schema_version == 3
    assert known.stamped(event, states).schema_version == 2
    assert known.stamped(change, known.of_agent("ann")) is change
    assert known.stamped(Mutation.event("note"), states).schema_version == 0
    assert known.stamped(Mutation.of(schema_version=1), states).schema_version == 1


def test_what_was_the_newest_version_at_a_position_is_known_only_as_far_as_it_was_seen() -> None:
    chain = Chain.of(Subject.event("tool_result"), [])
    versions = Versions(KnownSchemas())
    assert versions.newest_at(chain, 1) is None
    versions.saw_registrations(chain, 30, [10, 20, 40])
    assert [versions.newest_at(chain, at) for at in (9, 10, 11, 20, 21, 30)] == [0, 0, 1, 1, 2, 2]
    assert versions.newest_at(chain, 31) is None


def test_what_was_seen_of_logs_is_bounded() -> None:
    versions = Versions(KnownSchemas())
    for number in range(SEEN + 1):
        versions.saw_current((str(number), "main"), 1)
    assert not versions.is_current(("0", "main"))
    assert versions.is_current(("1", "main"))
    assert versions.is_current((str(SEEN), "main"))
    versions.forget("1")
    assert not versions.is_current(("1", "main"))


def test_a_snapshot_is_brought_up_and_remembered_as_given() -> None:
    versions = Versions(KnownSchemas([adds("state of planner-", 1)]))
    log, old = ("planner-1", "main"), Snapshot(state={"was": []}, seq=3, revision=Revision(1, 1), state_version=1)
    given = versions.upcast(log, old)
    assert (given.state, given.state_version, given.given_version) == ({"was": [1]}, 1, 2)
    versions.saw_brought(log, 4)
    assert [versions.expected(log, seq) for seq in (2, 3, 4, None)] == [2, 4, 4, None]
    versions.gave_as_stored(log)
    assert versions.expected(log, 3) == 3
    newer = Snapshot(state={"other": 1}, seq=3, revision=Revision(1, 1), state_version=3)
    assert versions.upcast(log, newer) is newer
    assert versions.upcast(("ann", "main"), old) is old
    begins = Snapshot(state={}, seq=0, revision=Revision(1, 1))
    assert versions.upcast(log, begins) is begins
