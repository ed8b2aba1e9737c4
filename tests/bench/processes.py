"""What the kernel says of processes, from /proc: CPU time and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.bench.figures import Cost

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, all threads, user and system."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold anything
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def busy_s() -> float:
    """CPU time that all processes have used, and what other virtual machines took of it."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run still."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return sorted(found)


def rss_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory: it has ended")


class CpuMeter:
    """The CPU time of this process, of the nodes and of all others since it was made."""

    def __init__(self, leader_pid: int, follower_pids: Collection[int]) -> None:
        self._leader_pid, self._follower_pids = leader_pid, tuple(follower_pids)
        self._began_s = time.monotonic()
        self._busy_before_s = busy_s()
        self._before = self._read()

    def cost(self, operations: int) -> Cost:
        """Of each of so many operations."""
        used_s = [after - before for before, after in zip(self._before, self._read(), strict=True)]
        others_s = max(0.0, busy_s() - self._busy_before_s - sum(used_s))
        available_s = (time.monotonic() - self._began_s) * (os.cpu_count() or 1)
        client_us, leader_us, followers_us = (each_s * 1e6 / operations for each_s in used_s)
        return Cost(client_us, leader_us, followers_us, others_s / available_s)

    def _read(self) -> tuple[float, float, float]:
        return time.process_time(), cpu_s(self._leader_pid), sum(cpu_s(pid) for pid in self._follower_pids)
