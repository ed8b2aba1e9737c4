"""Fault 5: a journal without checksums serves what rotted, and one that takes damage for a torn tail forgets."""

from __future__ import annotations

from typing import Final
from unittest import mock

from tallystick_node.storage import records, replay
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class _NoChecksums:
    """In the place of zlib: every checksum is the same."""

    @staticmethod
    def crc32(_data: bytes, _start: int = 0) -> int:
        return 0


class UncompactedNode(SimNode):
    """Keeps its whole journal, so that there is much that can rot."""

    tuning = UNCOMPACTED


class OneSegmentNode(UncompactedNode):
    """All of it in one segment: only the end of the newest one is ever cut off."""

    segment_bytes = 1 << 20


class Rotting(Simulation):
    """Nothing is broken; bits change in the journals of nodes that are down."""

    node_class = UncompactedNode
    fault_kinds = ("rot", "rot", "rot", "crash_leader", "isolate", "heal")
    flag = "--fixed unchecked"


class UncheckedSimulation(Rotting):
    """Records have no checksums."""

    flag = "--broken unchecked"

    def run(self, seconds: float = 10.0) -> str:
        with mock.patch.object(records, "zlib", _NoChecksums):
            return super().run(seconds)


class RottingSegment(Rotting):
    """Likewise, in one long segment."""

    node_class = OneSegmentNode
    fault_kinds = ("rot", "rot", "rot", "isolate", "isolate", "heal")
    flag = "--fixed forgetful"


class ForgetfulSimulation(RottingSegment):
    """What cannot be read at the end of the newest segment is cut off, whatever it is."""

    flag = "--broken forgetful"

    def run(self, seconds: float = 10.0) -> str:
        with mock.patch.object(replay, "_damage_at", return_value=None):
            return super().run(seconds)


UNCHECKED: Final = Variant("unchecked", 5, UncheckedSimulation, Rotting, LOSS, 4.0, (4, 16, 27))
FORGETFUL: Final = Variant("forgetful", 5, ForgetfulSimulation, RottingSegment, LOSS, 4.0, (0,))
