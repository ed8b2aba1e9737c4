"""The public test kit: for those who test agents against a store that fails, and for us.

This part judges: record what clients asked and were told, then ask a checker whether the promises were kept. It needs
the standard library only and has no clock, so the same history gets the same verdict everywhere.

Example:
    history = History()
    call = history.begin("worker-1", "counter", "increment", 1, at_s=time.monotonic())
    ...
    call.ok(at_s=time.monotonic(), result=1, revision=17)     # or .failed(), .undecided()
    check_linearizability(history, counter()).raise_unless_valid()
    check_witness(history, counter()).raise_unless_valid()
"""

from tallystick.testing.convergence import Observation, check_agreement, check_convergence
from tallystick.testing.history import Call, Consistency, History, Kind, Operation, Outcome
from tallystick.testing.linearizability import check_linearizability
from tallystick.testing.models import Model, append_only_list, counter, register
from tallystick.testing.sessions import check_sessions
from tallystick.testing.verdict import Budget, CheckFailed, Report, Verdict, Violation, steps
from tallystick.testing.watches import Event, Stream, check_watch
from tallystick.testing.witness import check_witness

__all__ = [
    "Budget",
    "Call",
    "CheckFailed",
    "Consistency",
    "Event",
    "History",
    "Kind",
    "Model",
    "Observation",
    "Operation",
    "Outcome",
    "Report",
    "Stream",
    "Verdict",
    "Violation",
    "append_only_list",
    "check_agreement",
    "check_convergence",
    "check_linearizability",
    "check_sessions",
    "check_watch",
    "check_witness",
    "counter",
    "register",
    "steps",
]
