"""Fault 8: pysyncobj applies an entry again after its state machine, or the callback that tells of it, raised."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from pysyncobj.config import FAIL_REASON

from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.broken.variant import UNCOMPACTED, Variant
from tests.sim.history import PromiseBroken
from tests.sim.machine import MachineError
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class _CallerError(Exception):
    """A caller failed on what it was told."""


class _NotSyncedError(Exception):
    """Fix 3 stays in: what is not on this disk is not applied."""


class RerunKernel(Kernel):
    """Lets pysyncobj apply, and calls back from there.

    Attributes:
        apply_at: applies the entry at an index.
        call_back: tells its caller.
    """

    apply_at: Callable[[int], None]
    call_back: Callable[[], None]

    def _SyncObj__doApplyCommand(self, _command: bytes) -> None:  # noqa: N802
        self.apply_at(self.raftLastApplied + 1)

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        try:
            return super()._SyncObj__applyLogEntries()
        except (_NotSyncedError, _CallerError, MachineError):
            return False  # pysyncobj's thread logs it and ticks again

    def _on_outcome(self, result: object, error: int) -> None:
        super()._on_outcome(result, error)
        if error == FAIL_REASON.SUCCESS:
            self.call_back()


class RerunReplica(Replica[int]):
    """Runs a `RerunKernel`."""

    _make_kernel = RerunKernel

    def apply(self) -> None:
        """pysyncobj does."""

    def apply_at(self, index: int) -> None:
        """Applies one entry."""
        if index > self._journal.durable_index:
            raise _NotSyncedError
        self._to_apply = deque([index])
        try:
            super().apply()
        finally:
            self._to_apply.clear()

    def _apply_is_due(self) -> bool:
        return bool(self._to_apply)


class RerunNode(SimNode):
    """Runs a `RerunReplica`."""

    replica_class = RerunReplica
    tuning = UNCOMPACTED

    def _make_replica(self, journal: Journal) -> Replica[int]:
        replica = super()._make_replica(journal)
        assert isinstance(replica, RerunReplica)
        assert isinstance(replica.kernel, RerunKernel)
        replica.kernel.apply_at = replica.apply_at
        replica.kernel.call_back = self._call_back
        return replica

    def _call_back(self) -> None:
        if self.caller_raises:
            self.caller_raises = False
            raise _CallerError


class Raising(Simulation):
    """Nothing is broken in consensus; now and then a state machine raises, or a caller fails on its verdict."""

    fault_kinds: ClassVar[Sequence[str]] = ("machine_raises", "caller_raises", "isolate", "heal")
    flag = "--fixed rerun"


class RerunSimulation(Raising):
    """Fix 8 is out."""

    node_class = RerunNode
    flag = "--broken rerun"


class CallingBackSimulation(RerunSimulation):
    """Likewise, and only callers raise."""

    fault_kinds = ("caller_raises", "isolate", "heal")
    flag = "--broken callback"


RERUN: Final = Variant("rerun", 8, RerunSimulation, Raising, (PromiseBroken,), 2.0, (0, 2))
CALLBACK: Final = Variant("callback", 8, CallingBackSimulation, Raising, (PromiseBroken,), 2.0, (1, 2))
