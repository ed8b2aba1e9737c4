"""How a value is read that somebody wrote: text of a flag or a variable, or what TOML has.

Rules of this file:
- A reader raises ValueError with what was expected, in words for who wrote it.
- Nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from tallystick_node.config.values import ArchiveSetting, Member, S3Location

_MEMBERS_MAX: Final = 9
_ARCHIVES_MAX: Final = 20
_NODE_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_CLUSTER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - what is refused, not what is bound


def split_address(text: str) -> tuple[str, int]:
    """Host and port of "host:port"; an IPv6 host stands in brackets. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not separator or not bare or bracketed != (":" in bare) or not re.fullmatch(r"[A-Za-z0-9.:_%-]+", bare):
        raise ValueError(f'"{text}" is no address; write host:port, e.g. 127.0.0.1:7420 or [::1]:7420')
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f'"{text}" has no port between 1 and 65535')
    return bare, int(port)


def read_text(raw: object) -> str:
    """Text, without white space around it."""
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"expected text, not {raw!r}")
    return raw.strip()


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[object], str]:
    def read(raw: object) -> str:
        text = read_text(raw)
        if not pattern.fullmatch(text):
            raise ValueError(f'"{text}" is no good name: use {rule}')
        return text

    return read


read_node_id = _matching(_NODE_ID, "1 to 32 lower-case letters, digits and inner hyphens")
"""A node id, checked. Raises ValueError."""
read_cluster_id = _matching(_CLUSTER_ID, "1 to 64 letters, digits, dots, hyphens and underscores")
"""A cluster's name, checked. Raises ValueError."""


def read_address(raw: object) -> str:
    """Where to listen: host:port."""
    text = read_text(raw)
    split_address(text)
    return text


def read_endpoint(raw: object) -> str:
    """Where others connect to: an address, but not one that means everywhere. Raises ValueError."""
    text = read_address(raw)
    if split_address(text)[0] in _EVERYWHERE:
        raise ValueError(f"nobody can connect to {text}; name an address of that machine")
    return text


def read_path(raw: object) -> Path:
    """A path; `~` is the home folder."""
    return raw if isinstance(raw, Path) else Path(read_text(raw)).expanduser()


def read_file(raw: object) -> Path:
    """The path of a file that is there."""
    path = read_path(raw)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `tallystick certs` makes certificates for development")
    return path


def read_flag(raw: object) -> bool:
    """True or false."""
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(raw, str) and raw.strip().lower() in words:
        return words[raw.strip().lower()]
    raise ValueError(f"expected true or false, not {raw!r}")


def integer(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between these."""

    def read(raw: object) -> int:
        text = raw.strip().replace("_", "") if isinstance(raw, str) else ""
        number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else raw
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, not {raw!r}")
        return number

    return read


def seconds(low: float, high: float) -> Callable[[object], float]:
    """A reader of seconds between these."""

    def read(raw: object) -> float:
        try:
            number = float(raw) if isinstance(raw, (str, int, float)) and not isinstance(raw, bool) else math.nan
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"expected seconds from {low:g} to {high:g}, not {raw!r}")
        return number

    return read


def choice(*choices: str) -> Callable[[object], str]:
    """A reader of one of these words."""

    def read(raw: object) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, not {raw!r}")
        return str(raw)

    return read


def _member(text: str) -> Member:
    node_id, _, endpoints = text.partition("=")
    peer, separator, client = endpoints.partition(",")
    if not separator:
        raise ValueError(f'"{text}" is no member; write id=peer,client, e.g. a=127.0.0.1:7421,127.0.0.1:7420')
    return Member(read_node_id(node_id), read_address(peer), read_address(client))


def read_members(raw: object) -> tuple[Member, ...]:
    """From a list of texts, or one text with spaces between the members (the environment)."""
    texts = raw.split() if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)):
        raise ValueError(f'expected a list of "id=peer,client", not {raw!r}')  # noqa: TRY004 - one class for all bad values
    members = tuple(_member(read_text(text)) for text in texts)
    if len(members) > _MEMBERS_MAX:
        raise ValueError(f"{len(members)} members; at most {_MEMBERS_MAX} can be")
    for what, names in {
        "id": [member.node_id for member in members],
        "endpoint": [endpoint for member in members for endpoint in (member.peer_endpoint, member.client_endpoint)],
    }.items():
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'{what} "{name}" stands there twice; each member needs its own')
    return members


def read_origins(raw: object) -> tuple[str, ...]:
    """From a list of texts, or one text with spaces between the origins (the environment)."""
    texts = raw.split() if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)):
        raise ValueError(f'expected a list of "https://host:port", not {raw!r}')  # noqa: TRY004 - one class for all bad values
    origins = tuple(read_text(text) for text in texts)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f'"{origin}" is no origin; write https://host or https://host:port, with no path')
    return origins


def _s3_location(text: str) -> S3Location:
    expected = "write s3://BUCKET/PREFIX, and ?endpoint=https://HOST&region=REGION behind it where they are needed"
    parts = urlsplit(text)
    if parts.scheme != "s3":
        raise ValueError(f'"{text}": an archive is a folder or s3://BUCKET/PREFIX')
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        pairs = [("", "")]
    options = dict(pairs)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,62}", parts.netloc) or parts.fragment or len(options) != len(pairs):
        raise ValueError(f'"{text}" is no place in a store: {expected}')
    endpoint = options.pop("endpoint", "")
    if options.keys() - {"region"} or (endpoint and not re.fullmatch(r"https?://[^/\s?]+/?", endpoint)):
        raise ValueError(f'"{text}" is no place in a store: {expected}')
    return S3Location(parts.netloc, parts.path.strip("/"), endpoint, options.get("region", ""))


def _archive(text: str) -> ArchiveSetting:
    name, separator, place = text.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or not place.strip():
        raise ValueError(
            f'"{text}" is no archive; write NAME=FOLDER or NAME=s3://BUCKET/PREFIX, e.g. cold=/mnt/archive'
        )
    if "://" in place:
        return ArchiveSetting(name, _s3_location(place))
    folder = Path(place).expanduser()
    if not folder.is_absolute():
        raise ValueError(f'the archive "{name}" is in "{place}"; write the whole path, from / on')
    return ArchiveSetting(name, folder)


def read_archives(raw: object) -> tuple[ArchiveSetting, ...]:
    """From a list of texts, or one text with spaces between the archives (the environment)."""
    texts = raw.split() if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)):
        raise ValueError(f'expected a list of "name=where", not {raw!r}')  # noqa: TRY004 - one class for all bad values
    archives = tuple(_archive(read_text(text)) for text in texts)
    names = [archive.name for archive in archives]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'the archive "{name}" stands there twice; each needs its own name')
    if len(archives) > _ARCHIVES_MAX:
        raise ValueError(f"{len(archives)} archives; at most {_ARCHIVES_MAX} can be")
    return archives
