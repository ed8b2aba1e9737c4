"""What a plan removes: never more than the policy, never what is held, never the newest mutation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import Hold, HoldKind, RetentionPolicy
from tallystick_node.retention.plan import Known, is_bounded, plan

ANN = Target("demo", "ann", "main")


@st.composite
def logs(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """An anchor, and behind it the ages and the sizes of the mutations, oldest first."""
    anchor = draw(st.integers(0, 20))
    count = draw(st.integers(1, 20))
    ages = sorted(draw(st.lists(st.integers(0, 50), min_size=count, max_size=count)), reverse=True)
    return anchor, ages, draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))


POLICIES = st.builds(RetentionPolicy, st.integers(0, 50), st.integers(0, 25), st.integers(0, 100))
HOLDS = st.lists(st.builds(Hold, st.sampled_from(HoldKind), st.integers(0, 45), st.just("x")), max_size=3)


def goes(policy: RetentionPolicy, ages: list[int], sizes: list[int], at: int) -> bool:
    """Whether the policy alone removes the mutation at an index, said another way than the plan does."""
    if at == len(ages) - 1:
        return False
    too_old = policy.max_age_s and ages[at] > policy.max_age_s
    too_many = policy.max_mutations and len(ages) - at > policy.max_mutations
    too_large = policy.max_log_bytes and sum(sizes[at:]) > policy.max_log_bytes
    return bool(too_old or too_many or too_large)


@given(logs(), POLICIES, HOLDS)
def test_a_plan_removes_what_the_policy_lets_go_and_nothing_holds(
    log: tuple[int, list[int], list[int]], policy: RetentionPolicy, holds: list[Hold]
) -> None:
    anchor, ages, sizes = log
    head = anchor + len(ages)
    old = sum(age > policy.max_age_s for age in ages) if policy.max_age_s else 0
    large = sum(sum(sizes[at:]) > policy.max_log_bytes for at in range(len(sizes))) if policy.max_log_bytes else 0
    known = Known(ANN, anchor, head, anchor + old if old else 0, anchor + large if large else 0)
    made = plan(policy, known, holds)
    wanted = [goes(policy, ages, sizes, at) for at in range(len(ages))]
    assert wanted == [anchor + at + 1 <= made.wanted_seq for at in range(len(ages))]
    removed = range(made.anchor_seq + 1, made.upto_seq + 1)
    assert len(removed) == made.mutations
    for seq in range(anchor + 1, head + 1):
        is_held = any(hold.seq < seq for hold in holds)
        assert (seq in removed) == (wanted[seq - anchor - 1] and not is_held)
    assert set(made.held) == {hold for hold in holds if hold.seq < made.wanted_seq}
    assert is_bounded(policy) or not made.mutations
