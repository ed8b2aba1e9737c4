"""The machine and the versions that the figures belong to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("tallystick", "grpcio", "protobuf", "pysyncobj", "uvloop", "orjson", "pycrdt")


def describe(folder: Path) -> dict[str, str]:
    """What to print above the figures, by name, for data kept in this folder."""
    return {
        "CPU": f"{os.cpu_count()} x {_cpu_model()}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()) + " (1, 5, 15 minutes, before the run)",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(f"{package} {version(package)}" for package in _PACKAGES),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that holds the folder: the longest mount point above it."""
    found = ("", "unknown")
    path = str(folder.resolve()) + "/"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if path.startswith(point.rstrip("/") + "/") and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]
