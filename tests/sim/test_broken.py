"""Each of the kernel's fixes, taken out, is seen by the simulation within 200 seeds; with it, the same seed is fine."""

from __future__ import annotations

import pytest

from tests.sim.broken import VARIANTS

SEEDS = 200


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_without_the_fix_it_breaks_and_with_it_not(name: str) -> None:
    """The seeds that are known to show it are tried first. To search again, with the variant's seconds and nodes:
    python -m tests.sim 0..200 --broken NAME --seconds S --nodes N."""
    variant = VARIANTS[name]
    seed = next(variant.finding((*variant.seeds, *range(SEEDS))), None)
    assert seed is not None, f"nothing was seen in {SEEDS} seeds"
    variant.fixed(seed, variant.nodes).run(variant.seconds)


def test_every_fault_that_a_simulation_can_show_has_a_variant() -> None:
    assert {variant.fault for variant in VARIANTS.values()} == {1, 2, 3, 4, 5, 6, 7, 8, 12, 15}
