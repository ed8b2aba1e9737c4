"""A process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class ParentGone(RuntimeError):
    """The process that started this one is gone."""


def die_with(parent_pid: int) -> None:
    """The kernel kills this process when its parent dies, however that happens. Linux only; elsewhere it does nothing.

    SIGKILL, because the parent is gone and nobody is left to insist.

    Raises:
        ParentGone: it died before we asked.
        OSError: the kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise ParentGone("the process that started this one is gone")
