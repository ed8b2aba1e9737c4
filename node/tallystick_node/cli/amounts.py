"""Durations and sizes as they are written on the command line: 30d, 512MiB. Callbacks of click's options."""

from __future__ import annotations

import re
from typing import Final

import click

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_MAX: Final = 1 << 53


def read_duration(ctx: click.Context, param: click.Parameter, text: str | None) -> int:
    """Whole seconds, from a number and s, m, h, d or w; 0: the option was not given."""
    if text is None:
        return 0
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if found is None or int(found[1]) == 0:
        raise click.BadParameter(f'"{text}" is no duration; write a number and s, m, h, d or w: 30d', ctx, param)
    return int(found[1]) * _SECONDS[found[2]]


def read_size(ctx: click.Context, param: click.Parameter, text: str | None) -> int:
    """Bytes, from a number and B, KiB, MiB, GiB, TiB or nothing; 0: the option was not given."""
    if text is None:
        return 0
    found = re.fullmatch(r"([0-9]{1,15})([KMGT]iB|B|)", text)
    size_bytes = int(found[1]) * _BYTES[found[2]] if found is not None else 0
    if not 0 < size_bytes < _MAX:
        raise click.BadParameter(f'"{text}" is no size; write bytes, or KiB, MiB, GiB, TiB: 64MiB', ctx, param)
    return size_bytes


def duration(seconds: int) -> str:
    """As it would be written: 30d."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
