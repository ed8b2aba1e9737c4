"""pysyncobj, held. The only package that names its insides; consensus/DESIGN.md says what each fix is against.

One class in five files, each the base of the next, because pysyncobj is one object: `held` (state, time, pysyncobj's
own hooks), `membership` (who counts), `sending` (what peers are sent, and what they answer), `elections` (who may
lead), `kernel` (what the replica calls).

Rules of this package:
- pysyncobj is exactly 0.3.17: the names with `_SyncObj__` are that version's insides; stand_ins.py asserts it.
- Time and randomness come from the owner of the kernel, bound before every entry, so that many kernels can live in one
  process, each with a clock and a seed of its own.
- It decides nothing of its own but who may vote; storage, sending and applying are the replica's.
"""

from tallystick_node.consensus.kernel.kernel import Kernel

__all__ = ["Kernel"]
