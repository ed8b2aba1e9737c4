"""Programs that claim, renew and release at random, with slow messages, cuts, lost answers and clocks apart: never two
hold one task, and each new claim has a higher epoch."""

from __future__ import annotations

from collections.abc import Coroutine

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tallystick.contexts.views.claims import MARGIN_S, Claim
from tallystick.errors import TallystickError
from tests.unit.contexts.views.claims_kit import Log, Program

PROGRAMS = st.integers(0, 2)
MAX_UNDER_WAY = 4


class Claiming(RuleBasedStateMachine):
    """Three programs, one task."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = [0.0]
        log = Log()
        skews_s = (-MARGIN_S / 2, 0.0, MARGIN_S / 2)
        self.programs = [
            Program(log, f"p-{number}", skew_s=skew_s, now_s=self.now_s) for number, skew_s in enumerate(skews_s)
        ]
        for program in self.programs:
            program.is_slow = True
        self.under_way: list[tuple[int, Coroutine[object, None, object]]] = []
        self.claims: list[list[Claim]] = [[] for _ in self.programs]

    @rule(program=PROGRAMS, ttl_s=st.sampled_from([1.0, 5.0, 20.0]))
    def claim(self, program: int, ttl_s: float) -> None:
        self._begin(program, self.programs[program].claims.claim("task", ttl_s, None))

    @rule(program=PROGRAMS, ttl_s=st.sampled_from([1.0, 20.0]), back=st.integers(1, 2))
    def renew(self, program: int, ttl_s: float, back: int) -> None:
        for claim in self.claims[program][-back:][:1]:
            self._begin(program, claim.renew(ttl_s=ttl_s))

    @rule(program=PROGRAMS, back=st.integers(1, 2))
    def release(self, program: int, back: int) -> None:
        for claim in self.claims[program][-back:][:1]:
            self._begin(program, claim.release())

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, MAX_UNDER_WAY - 1), steps=st.integers(1, 3))
    def go_on(self, which: int, steps: int) -> None:
        if which < len(self.under_way):
            program, coroutine = self.under_way.pop(which)
            self._send_on(program, coroutine, steps)

    @rule(seconds=st.sampled_from([0.5, 1.0, MARGIN_S, 2 * MARGIN_S, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s[0] += seconds

    @rule(program=PROGRAMS, is_cut_off=st.booleans())
    def cut(self, program: int, is_cut_off: bool) -> None:
        self.programs[program].is_cut_off = is_cut_off

    @rule(program=PROGRAMS)
    def lose_an_answer(self, program: int) -> None:
        self.programs[program].loses_next_answer = True

    @invariant()
    def at_most_one_holds(self) -> None:
        holding = [claim for claims in self.claims for claim in claims if claim.is_held]
        assert len(holding) <= 1, holding

    def teardown(self) -> None:
        for _, coroutine in self.under_way:
            coroutine.close()

    def _begin(self, program: int, coroutine: Coroutine[object, None, object]) -> None:
        if len(self.under_way) < MAX_UNDER_WAY:
            self._send_on(program, coroutine, 1)
        else:
            coroutine.close()

    def _send_on(self, program: int, coroutine: Coroutine[object, None, object], steps: int) -> None:
        try:
            for _ in range(steps):
                coroutine.send(None)
        except StopIteration as end:
            if isinstance(end.value, Claim):
                self._got(program, end.value)
        except TallystickError:
            return
        else:
            self.under_way.append((program, coroutine))

    def _got(self, program: int, claim: Claim) -> None:
        assert all(claim.epoch > other.epoch for claims in self.claims for other in claims)
        self.claims[program].append(claim)


TestClaiming = Claiming.TestCase
TestClaiming.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
