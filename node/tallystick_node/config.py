"""What a node is told at its start: one table of settings, three places to set them.

Rules of this file:
- A leaf: it imports the standard library and nothing of ours.
- A setting is one row of `SETTINGS`. Its flag (`--node-id`), its environment variable (`TALLYSTICK_NODE_ID`) and its
  TOML key (`node_id`) are derived from the row's name. Flags override the environment, which overrides the file.
- Whatever is wrong is a `ConfigError` that names the key and says what to do. Nothing is guessed and nothing is
  ignored, but environment variables that are no setting: others of that prefix belong to the client.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

ENVIRONMENT_PREFIX: Final = "TALLYSTICK_"
T = TypeVar("T")
_NODE_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_CLUSTER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MEMBERS_MAX = 9
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what is refused, not what is bound


class ConfigError(Exception):
    """A setting is missing or wrong. `key` is its name, as in the TOML file."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster, and where others reach it ("host:port")."""

    node_id: str
    peer_endpoint: str
    client_endpoint: str


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """PEM files. `ca` says whom we believe, `cert` and `key` are what we show; `peer_*` are the same between nodes."""

    ca: Path
    cert: Path
    key: Path
    peer_ca: Path
    peer_cert: Path
    peer_key: Path


@dataclass(frozen=True)
class NodeConfig:
    """Everything that a node is told. Addresses are "host:port"; `members` includes the node itself.

    With `join`, `members` says only where the others can be reached: who is of the cluster comes with its log.

    The defaults stand here only; the table takes them from here (which is why this class has no slots).
    """

    node_id: str
    data_folder: Path
    members: tuple[Member, ...]
    cluster_id: str = "tallystick"
    client_address: str = "127.0.0.1:7420"
    peer_address: str = "127.0.0.1:7421"
    advertise_client: str = "127.0.0.1:7420"
    advertise_peer: str = "127.0.0.1:7421"
    join: bool = False
    contexts: bool = True
    http_address: str | None = None
    web_origins: tuple[str, ...] = ()
    tls: TLSConfig | None = None
    insecure: bool = False
    election_timeout_min_s: float = 0.5
    election_timeout_max_s: float = 1.0
    heartbeat_s: float = 0.1
    journal_segment_bytes: int = 64 << 20
    journal_kept_bytes: int = 256 << 20
    disk_reserve_bytes: int = 64 << 20
    watch_history_events: int = 1_000_000
    max_concurrent_calls: int = 1000
    log_level: str = "info"
    log_format: str = "json"


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A row: its name, how its value is read (raising ValueError with what was expected), and help for people."""

    name: str
    read: Callable[[object], T]
    default: T | None
    help: str
    metavar: str = "TEXT"

    @property
    def flag(self) -> str:
        """On the command line; what can be given many times is named in the singular."""
        singular = {"members": "member", "web_origins": "web-origin"}
        return "--" + singular.get(self.name, self.name.replace("_", "-"))

    @property
    def is_list(self) -> bool:
        """Whether it can be given many times."""
        return isinstance(self.default, tuple)

    @property
    def variable(self) -> str:
        """In the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()


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


def _string(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(f"expected text, not {raw!r}")
    return raw.strip()


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[object], str]:
    def read(raw: object) -> str:
        text = _string(raw)
        if not pattern.fullmatch(text):
            raise ValueError(f'"{text}" is no good name: use {rule}')
        return text

    return read


read_node_id = _matching(_NODE_ID, "1 to 32 lower-case letters, digits and inner hyphens")
"""A node id, checked. Raises ValueError."""


def _address(raw: object) -> str:
    text = _string(raw)
    split_address(text)
    return text


def read_endpoint(raw: object) -> str:
    """Where others connect to: an address, but not one that means everywhere. Raises ValueError."""
    text = _address(raw)
    if split_address(text)[0] in _EVERYWHERE:
        raise ValueError(f"nobody can connect to {text}; name an address of that machine")
    return text


def _path(raw: object) -> Path:
    return raw if isinstance(raw, Path) else Path(_string(raw)).expanduser()


def _file(raw: object) -> Path:
    path = _path(raw)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; `tallystick certs` makes certificates for development")
    return path


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(raw, str) and raw.strip().lower() in words:
        return words[raw.strip().lower()]
    raise ValueError(f"expected true or false, not {raw!r}")


def _integer(low: int, high: int) -> Callable[[object], int]:
    def read(raw: object) -> int:
        text = raw.strip().replace("_", "") if isinstance(raw, str) else ""
        number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else raw
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, not {raw!r}")
        return number

    return read


def _seconds(low: float, high: float) -> Callable[[object], float]:
    def read(raw: object) -> float:
        try:
            number = float(raw) if isinstance(raw, (str, int, float)) and not isinstance(raw, bool) else math.nan
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"expected seconds from {low:g} to {high:g}, not {raw!r}")
        return number

    return read


def _choice(*choices: str) -> Callable[[object], str]:
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
    return Member(read_node_id(node_id), _address(peer), _address(client))


def _members(raw: object) -> tuple[Member, ...]:
    """From a list of texts, or one text with spaces between the members (the environment)."""
    texts = raw.split() if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)):
        raise ValueError(f'expected a list of "id=peer,client", not {raw!r}')  # noqa: TRY004 - one class for all bad values
    members = tuple(_member(_string(text)) for text in texts)
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


def _origins(raw: object) -> tuple[str, ...]:
    """From a list of texts, or one text with spaces between the origins (the environment)."""
    texts = raw.split() if isinstance(raw, str) else raw
    if not isinstance(texts, (list, tuple)):
        raise ValueError(f'expected a list of "https://host:port", not {raw!r}')  # noqa: TRY004 - one class for all bad values
    origins = tuple(_string(text) for text in texts)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f'"{origin}" is no origin; write https://host or https://host:port, with no path')
    return origins


# fmt: off
_C = NodeConfig
_PEER_TLS = "The same between nodes, if another than for clients."
_CLUSTER_RULE = "1 to 64 letters, digits, dots, hyphens and underscores"
NODE_ID = Setting("node_id", read_node_id, None, "This node's name in the cluster.")
CLUSTER_ID = Setting("cluster_id", _matching(_CLUSTER_ID, _CLUSTER_RULE), _C.cluster_id,
                     "The cluster's name; nodes refuse those of another.")
DATA_FOLDER = Setting("data_folder", _path, None, "Where this node keeps everything.", "FOLDER")
CLIENT_ADDRESS = Setting("client_address", _address, _C.client_address, "Listen for clients here.", "HOST:PORT")
PEER_ADDRESS = Setting("peer_address", _address, _C.peer_address, "Listen for other nodes here.", "HOST:PORT")
ADVERTISE_CLIENT = Setting("advertise_client", _address, None, "Where clients find it, if not there.", "HOST:PORT")
ADVERTISE_PEER = Setting("advertise_peer", _address, None, "Where other nodes find it, if not there.", "HOST:PORT")
MEMBERS: Setting[tuple[Member, ...]] = Setting("members", _members, (),
                                               "A node of the cluster; once for each, this one too.", "ID=PEER,CLIENT")
CONTEXTS = Setting("contexts", _flag, _C.contexts, "Hold documents that agents share, in a process of their own.")
JOIN = Setting("join", _flag, _C.join, "Join the cluster of these members: no voter until its log says so.")
HTTP_ADDRESS = Setting("http_address", _address, None,
                       "Listen for Yjs clients and HTTP health checks here; without it, nowhere.", "HOST:PORT")
WEB_ORIGINS: Setting[tuple[str, ...]] = Setting("web_origins", _origins, (),
                                                "A web page's origin that may open contexts; once for each.", "ORIGIN")
TLS_CA = Setting("tls_ca", _file, None, "PEM file of the CA that clients' certificates come from.", "FILE")
TLS_CERT = Setting("tls_cert", _file, None, "PEM file of this node's certificate.", "FILE")
TLS_KEY = Setting("tls_key", _file, None, "PEM file of its private key.", "FILE")
TLS_PEER_CA = Setting("tls_peer_ca", _file, None, _PEER_TLS, "FILE")
TLS_PEER_CERT = Setting("tls_peer_cert", _file, None, _PEER_TLS, "FILE")
TLS_PEER_KEY = Setting("tls_peer_key", _file, None, _PEER_TLS, "FILE")
INSECURE = Setting("insecure", _flag, _C.insecure, "Listen beyond this machine without TLS.")
ELECTION_TIMEOUT_MIN_S = Setting("election_timeout_min_s", _seconds(0.05, 60), _C.election_timeout_min_s,
                                 "Shortest silence before an election.", "SECONDS")
ELECTION_TIMEOUT_MAX_S = Setting("election_timeout_max_s", _seconds(0.1, 120), _C.election_timeout_max_s,
                                 "Longest silence before an election.", "SECONDS")
HEARTBEAT_S = Setting("heartbeat_s", _seconds(0.01, 30), _C.heartbeat_s, "How often a leader says so.", "SECONDS")
JOURNAL_SEGMENT_BYTES = Setting("journal_segment_bytes", _integer(1 << 20, 1 << 30), _C.journal_segment_bytes,
                                "Size of a journal file.", "BYTES")
JOURNAL_KEPT_BYTES = Setting("journal_kept_bytes", _integer(1 << 20, 1 << 40), _C.journal_kept_bytes,
                             "Journal kept for slow members; who lacks more needs a snapshot.", "BYTES")
DISK_RESERVE_BYTES = Setting("disk_reserve_bytes", _integer(0, 1 << 50), _C.disk_reserve_bytes,
                             "Refuse writes with less free space than this.", "BYTES")
WATCH_HISTORY_EVENTS = Setting("watch_history_events", _integer(1, 10**12), _C.watch_history_events,
                               "How many events watches can go back.", "EVENTS")
MAX_CONCURRENT_CALLS = Setting("max_concurrent_calls", _integer(1, 100_000), _C.max_concurrent_calls,
                               "How many calls are served at once.", "CALLS")
LOG_LEVEL = Setting("log_level", _choice("debug", "info", "warning", "error"), _C.log_level,
                    "debug, info, warning or error.", "LEVEL")
LOG_FORMAT = Setting("log_format", _choice("json", "text"), _C.log_format, "json (a line each) or text.", "FORMAT")

AnySetting = (Setting[str] | Setting[Path] | Setting[bool] | Setting[int] | Setting[float]
              | Setting[tuple[Member, ...]] | Setting[tuple[str, ...]])
SETTINGS: Final[tuple[AnySetting, ...]] = (
    NODE_ID, CLUSTER_ID, DATA_FOLDER, CLIENT_ADDRESS, PEER_ADDRESS, ADVERTISE_CLIENT, ADVERTISE_PEER, MEMBERS, JOIN,
    CONTEXTS, HTTP_ADDRESS, WEB_ORIGINS,
    TLS_CA, TLS_CERT, TLS_KEY, TLS_PEER_CA, TLS_PEER_CERT, TLS_PEER_KEY, INSECURE,
    ELECTION_TIMEOUT_MIN_S, ELECTION_TIMEOUT_MAX_S, HEARTBEAT_S, JOURNAL_SEGMENT_BYTES, JOURNAL_KEPT_BYTES,
    DISK_RESERVE_BYTES, WATCH_HISTORY_EVENTS, MAX_CONCURRENT_CALLS, LOG_LEVEL, LOG_FORMAT,
)
# fmt: on


def load(flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None = None) -> NodeConfig:
    """The node's configuration: flags over environment over file over defaults.

    Args:
        flags: by setting name; None means not given.
        environment: as `os.environ`; only variables of settings are read, an empty one counts as not set.
        file: TOML, flat: the settings' names are its keys.

    Raises:
        ConfigError: a value is missing, wrong, unknown, or does not fit another.
    """
    values = _Values(flags, environment, {} if file is None else _read_file(file))
    node_id = values.required(NODE_ID)
    client_address = values.required(CLIENT_ADDRESS)
    peer_address = values.required(PEER_ADDRESS)
    advertised = _advertised(values, node_id, client_address, peer_address)
    tls = _tls(values)
    config = NodeConfig(
        node_id=node_id,
        data_folder=values.required(DATA_FOLDER),
        members=_with_itself(values.required(MEMBERS), advertised),
        join=values.required(JOIN),
        contexts=values.required(CONTEXTS),
        http_address=values.given(HTTP_ADDRESS),
        web_origins=values.required(WEB_ORIGINS),
        cluster_id=values.required(CLUSTER_ID),
        client_address=client_address,
        peer_address=peer_address,
        advertise_client=advertised.client_endpoint,
        advertise_peer=advertised.peer_endpoint,
        tls=tls,
        insecure=values.required(INSECURE),
        election_timeout_min_s=values.required(ELECTION_TIMEOUT_MIN_S),
        election_timeout_max_s=values.required(ELECTION_TIMEOUT_MAX_S),
        heartbeat_s=values.required(HEARTBEAT_S),
        journal_segment_bytes=values.required(JOURNAL_SEGMENT_BYTES),
        journal_kept_bytes=values.required(JOURNAL_KEPT_BYTES),
        disk_reserve_bytes=values.required(DISK_RESERVE_BYTES),
        watch_history_events=values.required(WATCH_HISTORY_EVENTS),
        max_concurrent_calls=values.required(MAX_CONCURRENT_CALLS),
        log_level=values.required(LOG_LEVEL),
        log_format=values.required(LOG_FORMAT),
    )
    _check(config)
    return config


class _Values:
    """The three places, looked through in their order."""

    def __init__(self, flags: Mapping[str, object], environment: Mapping[str, str], file: Mapping[str, object]) -> None:
        self._flags = flags
        self._environment = environment
        self._file = file

    def given(self, setting: Setting[T]) -> T | None:
        """The value as it was set somewhere, or None."""
        raw = self._raw(setting)
        if raw is None:
            return None
        try:
            return setting.read(raw)
        except ValueError as error:
            raise ConfigError(setting.name, str(error)) from error

    def required(self, setting: Setting[T]) -> T:
        """The value, or its default; ConfigError if there is neither."""
        given = self.given(setting)
        if given is not None:
            return given
        if setting.default is not None:
            return setting.default
        raise ConfigError(
            setting.name, f'is missing; set {setting.flag}, {setting.variable} or "{setting.name}" in the file'
        )

    def _raw(self, setting: Setting[T]) -> object:
        flag = self._flags.get(setting.name)
        if flag is not None:
            return flag
        return self._environment.get(setting.variable) or self._file.get(setting.name)


def _read_file(path: Path) -> Mapping[str, object]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config", f"{path} is no TOML file: {error}") from error
    known = [setting.name for setting in SETTINGS]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"the settings are {', '.join(known)}"
            raise ConfigError(name, f"is no setting, but stands in {path}; {advice}")
    return values


def _with_itself(members: tuple[Member, ...], me: Member) -> tuple[Member, ...]:
    return members if any(member.node_id == me.node_id for member in members) else (*members, me)


def _advertised(values: _Values, node_id: str, client_address: str, peer_address: str) -> Member:
    """This node as others know it: as it stands among the members, or as advertised, or where it listens."""
    members = values.required(MEMBERS)
    named = {member.node_id: member for member in members}
    if members and node_id not in named and not values.required(JOIN):
        problem = f'this node, "{node_id}", is not among {", ".join(named)}; name it too, or say join'
        raise ConfigError("members", problem)
    me = named.get(node_id, Member(node_id, peer_address, client_address))
    client = values.given(ADVERTISE_CLIENT) or me.client_endpoint
    peer = values.given(ADVERTISE_PEER) or me.peer_endpoint
    for setting, endpoint, member_endpoint in (
        (ADVERTISE_CLIENT, client, me.client_endpoint),
        (ADVERTISE_PEER, peer, me.peer_endpoint),
    ):
        if node_id in named and endpoint != member_endpoint:
            raise ConfigError(setting.name, f"is {endpoint}, but members say {member_endpoint}; leave it out")
        try:
            read_endpoint(endpoint)
        except ValueError as error:
            raise ConfigError(setting.name, str(error)) from error
    return Member(node_id, peer, client)


def _tls(values: _Values) -> TLSConfig | None:
    files = {setting.name: values.given(setting) for setting in (TLS_CA, TLS_CERT, TLS_KEY)}
    peer = {setting.name: values.given(setting) for setting in (TLS_PEER_CA, TLS_PEER_CERT, TLS_PEER_KEY)}
    ca, cert, key = files.values()
    if ca is None or cert is None or key is None:
        present = [name for name, path in {**files, **peer}.items() if path is not None]
        missing = [name for name, path in files.items() if path is None]
        if present:
            raise ConfigError(missing[0], f"is missing beside {present[0]}; TLS needs tls_ca, tls_cert and tls_key")
        return None
    peer_ca, peer_cert, peer_key = peer.values()
    if (peer_cert is None) != (peer_key is None):
        lonely = "tls_peer_key" if peer_key is None else "tls_peer_cert"
        raise ConfigError(lonely, "is missing; a certificate and its key are set together")
    return TLSConfig(ca, cert, key, peer_ca or ca, peer_cert or cert, peer_key or key)


def _check(config: NodeConfig) -> None:
    """What no single value shows."""
    if config.join and len(config.members) == 1:
        raise ConfigError("join", "needs to know where the cluster is; set members to at least one node of it")
    if config.client_address == config.peer_address:
        raise ConfigError("peer_address", "is client_address too; clients and nodes need a port each")
    if config.http_address in (config.client_address, config.peer_address):
        raise ConfigError("http_address", "is another address too; HTTP needs a port of its own")
    if config.election_timeout_min_s >= config.election_timeout_max_s:
        raise ConfigError("election_timeout_max_s", "must be above election_timeout_min_s, so that one node goes first")
    if config.heartbeat_s * 2 > config.election_timeout_min_s:
        raise ConfigError("heartbeat_s", "must be at most half of election_timeout_min_s")
    if config.tls is not None or config.insecure:
        return
    addresses = {
        "client_address": config.client_address,
        "peer_address": config.peer_address,
        "http_address": config.http_address,
    }
    for key, address in addresses.items():
        if address is not None and not _is_loopback(split_address(address)[0]):
            raise ConfigError(
                key,
                f"{address} can be reached from other machines and TLS is off; set tls_ca, tls_cert and tls_key, "
                "or say insecure if the network keeps strangers out",
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
