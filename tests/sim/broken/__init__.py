"""The same cluster with one fix taken out: the simulation must see what the fix is against. One file for each fault."""

from __future__ import annotations

from typing import Final

from tests.sim.broken.bare import BARE
from tests.sim.broken.clearing import CLEARING
from tests.sim.broken.gateless import GATELESS
from tests.sim.broken.hasty import HASTY
from tests.sim.broken.obliging import OBLIGING
from tests.sim.broken.pieces import PIECES
from tests.sim.broken.presuming import PRESUMING
from tests.sim.broken.rerun import CALLBACK, RERUN
from tests.sim.broken.roundless import ROUNDLESS
from tests.sim.broken.stale import STALE, TWICE
from tests.sim.broken.unchecked import FORGETFUL, UNCHECKED
from tests.sim.broken.unsynced import UNSYNCED
from tests.sim.broken.variant import Variant

_ALL: Final = (
    *(HASTY, BARE, PRESUMING, UNSYNCED, CLEARING, UNCHECKED, FORGETFUL, STALE),
    *(TWICE, PIECES, RERUN, CALLBACK, OBLIGING, GATELESS, ROUNDLESS),
)
VARIANTS: Final[dict[str, Variant]] = {variant.name: variant for variant in _ALL}
"""The broken clusters by name."""
