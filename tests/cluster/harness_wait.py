"""Waiting for conditions, with deadlines: the public kit's."""

from tallystick.testing.local_wait import POLL_S, eventually

__all__ = ["POLL_S", "eventually"]
