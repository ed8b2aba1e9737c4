"""Claims: at most one holds a task."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tallystick import Conflict, Invalid, Overloaded, Reason, StaleOwner, Unavailable, Undecided, ops
from tallystick.contexts.views.claims import ATTEMPTS, MARGIN_S, MAX_TTL_S, Claim, claims_agent
from tests.unit.contexts.views.claims_kit import Log, Program, now


def _pair(**other: float) -> tuple[Program, Program]:
    log, clock = Log(), [0.0]
    return Program(log, "ann", now_s=clock), Program(log, "bob", now_s=clock, **other)


def _claim(program: Program, task: str = "t", ttl_s: float = 10.0) -> Claim:
    return now(program.claims.claim(task, ttl_s, None))


def _holds(claim: Claim) -> bool:
    return claim.is_held


def _refused(step: Callable[[], object]) -> Conflict:
    with pytest.raises(Conflict) as refused:
        step()
    assert refused.value.reason is Reason.TASK_CLAIMED
    return refused.value


def test_second_is_told_who_has_it() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    assert _holds(claim)
    assert claim.remaining_s == 10.0
    refused = _refused(lambda: _claim(bob))
    assert refused.metadata == {"task": "t", "actor": "ann", "epoch": "1", "until_unix_ms": "1000010000"}
    assert now(bob.claims.all(None))["t"].actor == "ann"
    assert _holds(_claim(bob, "another task"))


def test_of_two_at_once_one_is_refused() -> None:
    ann, _ = _pair()
    bobs = ops.set("/t", {"holder": "bob", "actor": "bob", "epoch": 1, "until_unix_ms": 1_000_010_000})
    ann.before_append.append(bobs)
    assert _refused(lambda: _claim(ann)).metadata["actor"] == "bob"
    ann.before_append.append(ops.set("/other", {}))  # in the way, but of another task
    assert _claim(ann, "mine").epoch == 3


def test_claim_ends_here_before_it_ends_for_others() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    ann.now_s[0] = 9.9
    assert _holds(claim)
    ann.now_s[0] = 10.0
    assert not _holds(claim)
    assert claim.remaining_s == 0
    _refused(lambda: _claim(bob))
    ann.now_s[0] = 10 + MARGIN_S
    _refused(lambda: _claim(bob))
    ann.now_s[0] = 10.1 + MARGIN_S
    taken = _claim(bob)
    assert _holds(taken)
    assert taken.epoch > claim.epoch
    with pytest.raises(StaleOwner):
        now(claim.renew())
    assert now(claim.release()) is False
    assert _holds(taken)


@pytest.mark.parametrize("skew_s", [-MARGIN_S, MARGIN_S])
def test_claims_do_not_overlap_as_long_as_clocks_agree_within_the_margin(skew_s: float) -> None:
    ann, bob = _pair(skew_s=skew_s)
    claim = _claim(ann)
    for tenths in range(400):
        ann.now_s[0] = tenths / 10
        try:
            _claim(bob)
        except Conflict:
            continue
        assert not _holds(claim)
        return
    raise AssertionError("nobody else ever got it")


def test_renewing_keeps_the_epoch() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    ann.now_s[0] = 8.0
    now(claim.renew(ttl_s=10))
    ann.now_s[0] = 10 + MARGIN_S + 0.5
    assert _holds(claim)
    assert claim.epoch == 1
    _refused(lambda: _claim(bob))
    ann.now_s[0] = 20.0
    assert not _holds(claim)
    now(claim.renew(ttl_s=10))  # nobody took it
    assert _holds(claim)


def test_released_is_free_at_once() -> None:
    ann, bob = _pair()

    async def work() -> None:
        async with await ann.claims.claim("t", 10, None) as claim:
            assert _holds(claim)
        assert not _holds(claim)
        assert await claim.release() is False

    now(work())
    taken = _claim(bob)
    assert _holds(taken)
    assert now(taken.release())
    assert now(ann.claims.all(None)) == {}


def test_finished_is_nobodys_for_good() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    now(claim.finish())
    assert not _holds(claim)
    assert now(claim.release()) is False
    ann.now_s[0] = 10 * MAX_TTL_S
    for program in (ann, bob):
        assert "finished by 'ann'" in str(_refused(lambda program=program: _claim(program)))  # type: ignore[misc]
    assert now(bob.claims.all(None))["t"].is_finished
    now(claim.finish())  # as after a lost answer
    with pytest.raises(StaleOwner):
        now(claim.renew())


def test_finished_stays_finished_though_the_answer_was_lost() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    ann.loses_next_answer = True
    with pytest.raises(Undecided):
        now(claim.finish())
    assert _holds(claim)
    with pytest.raises(StaleOwner):
        now(claim.renew())
    assert not _holds(claim)
    ann.now_s[0] = 100
    _refused(lambda: _claim(bob))


def test_finishing_what_another_took_is_refused() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    ann.is_cut_off = True
    with pytest.raises(Unavailable):
        now(claim.finish())
    assert _holds(claim)
    ann.now_s[0] = 11 + MARGIN_S
    taken = _claim(bob)
    ann.is_cut_off = False
    with pytest.raises(StaleOwner):
        now(claim.finish())
    assert _holds(taken)


def test_one_program_does_not_claim_twice() -> None:
    """Two coroutines of it are two."""
    ann, _ = _pair()
    claim = _claim(ann)
    _refused(lambda: _claim(ann))
    now(claim.release())
    claim = _claim(ann)
    ann.now_s[0] = 10.0
    again = _claim(ann)  # its own, ended: nobody has to wait
    assert again.epoch > claim.epoch
    with pytest.raises(StaleOwner):
        now(claim.renew())
    assert _holds(again)
    assert not _holds(claim)


def test_claim_under_way_is_a_claim() -> None:
    ann, _ = _pair()

    ann.is_slow = True
    first = ann.claims.claim("t", 10, None)
    first.send(None)
    ann.is_slow = False
    _refused(lambda: _claim(ann))
    with pytest.raises(StopIteration) as end:
        first.send(None)
    assert end.value.value.is_held


def test_two_programs_of_one_agent_are_two() -> None:
    log = Log()
    one, other = Program(log, "ann-1"), Program(log, "ann-2")
    _claim(one)
    assert _refused(lambda: _claim(other)).metadata["actor"] == "ann"


def test_cut_off_nobody_claims_renews_or_releases() -> None:
    ann, bob = _pair()
    claim = _claim(ann)
    ann.is_cut_off = True
    for step in (lambda: _claim(ann, "other"), lambda: now(claim.renew())):
        with pytest.raises(Unavailable):
            step()
    assert _holds(claim)  # until its end
    with pytest.raises(Unavailable):
        now(claim.release())
    assert not _holds(claim)
    _refused(lambda: _claim(bob))
    ann.is_cut_off = False
    assert _holds(_claim(ann))  # its own: it need not wait


def test_claim_whose_answer_was_lost_goes_to_who_asks_again() -> None:
    ann, bob = _pair()
    ann.loses_next_answer = True
    with pytest.raises(Undecided):
        _claim(ann)
    _refused(lambda: _claim(bob))
    assert _holds(_claim(ann))


def test_crowd_is_told_after_a_bound() -> None:
    ann, _ = _pair()
    ann.before_append = [ops.set("/other", {})] * (ATTEMPTS + 1)
    with pytest.raises(Overloaded):
        _claim(ann)
    assert len(ann.before_append) == 1
    assert not ann.claims._held


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1, float("nan")])
def test_ttl_is_refused(ttl_s: float) -> None:
    ann, _ = _pair()
    with pytest.raises(Invalid):
        _claim(ann, ttl_s=ttl_s)
    claim = _claim(ann)
    with pytest.raises(Invalid):
        now(claim.renew(ttl_s=ttl_s))


def test_tasks_of_odd_names_and_entries_that_are_no_claims() -> None:
    ann, bob = _pair()
    for task in ("a~b", "~1", "é", ""):
        _claim(ann, task)
        _refused(lambda name=task: _claim(bob, name))  # type: ignore[misc]
    ann.log.state["odd"] = {"holder": 5}
    ann.log.state["none"] = None
    assert sorted(now(bob.claims.all(None))) == ["", "a~b", "~1", "é"]
    assert _holds(_claim(bob, "odd"))


def test_name_of_the_agent_is_a_name() -> None:
    guid = bytes(range(16))
    assert claims_agent(guid, "tasks") == "claims/000102030405060708090a0b0c0d0e0f/tasks"
    odd = {claims_agent(guid, name) for name in ("ä", "a b", "x" * 100, "a/b")}
    assert len(odd) == 4
    assert all(len(name) <= 128 and name.isascii() for name in odd)
