"""The table of settings.

Rules of this file:
- A setting is one row of `SETTINGS`. Its flag (`--node-id`), its environment variable (`TALLYSTICK_NODE_ID`) and its
  TOML key (`node_id`) are derived from the row's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from tallystick_node.config.readers import (
    choice,
    integer,
    read_address,
    read_archives,
    read_cluster_id,
    read_file,
    read_flag,
    read_members,
    read_node_id,
    read_origins,
    read_path,
    seconds,
)
from tallystick_node.config.values import ArchiveSetting, Member, NodeConfig

ENVIRONMENT_PREFIX: Final = "TALLYSTICK_"
T = TypeVar("T")


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
        singular = {"members": "member", "web_origins": "web-origin", "archives": "archive"}
        return "--" + singular.get(self.name, self.name.replace("_", "-"))

    @property
    def is_list(self) -> bool:
        """Whether it can be given many times."""
        return isinstance(self.default, tuple)

    @property
    def variable(self) -> str:
        """In the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()


# fmt: off
_C = NodeConfig
_PEER_TLS = "The same between nodes, if another than for clients."
NODE_ID = Setting("node_id", read_node_id, None, "This node's name in the cluster.")
CLUSTER_ID = Setting("cluster_id", read_cluster_id, _C.cluster_id,
                     "The cluster's name; nodes refuse those of another.")
DATA_FOLDER = Setting("data_folder", read_path, None, "Where this node keeps everything.", "FOLDER")
CLIENT_ADDRESS = Setting("client_address", read_address, _C.client_address, "Listen for clients here.", "HOST:PORT")
PEER_ADDRESS = Setting("peer_address", read_address, _C.peer_address, "Listen for other nodes here.", "HOST:PORT")
ADVERTISE_CLIENT = Setting("advertise_client", read_address, None, "Where clients find it, if not there.", "HOST:PORT")
ADVERTISE_PEER = Setting("advertise_peer", read_address, None, "Where other nodes find it, if not there.", "HOST:PORT")
MEMBERS: Setting[tuple[Member, ...]] = Setting("members", read_members, (),
                                               "A node of the cluster; once for each, this one too.", "ID=PEER,CLIENT")
CONTEXTS = Setting("contexts", read_flag, _C.contexts, "Hold documents that agents share, in a process of their own.")
JOIN = Setting("join", read_flag, _C.join, "Join the cluster of these members: no voter until its log says so.")
HTTP_ADDRESS = Setting("http_address", read_address, None,
                       "Listen for Yjs clients and HTTP health checks here; without it, nowhere.", "HOST:PORT")
WEB_ORIGINS: Setting[tuple[str, ...]] = Setting("web_origins", read_origins, (),
                                                "A web page's origin that may open contexts; once for each.", "ORIGIN")
TLS_CA = Setting("tls_ca", read_file, None, "PEM file of the CA that clients' certificates come from.", "FILE")
TLS_CERT = Setting("tls_cert", read_file, None, "PEM file of this node's certificate.", "FILE")
TLS_KEY = Setting("tls_key", read_file, None, "PEM file of its private key.", "FILE")
TLS_PEER_CA = Setting("tls_peer_ca", read_file, None, _PEER_TLS, "FILE")
TLS_PEER_CERT = Setting("tls_peer_cert", read_file, None, _PEER_TLS, "FILE")
TLS_PEER_KEY = Setting("tls_peer_key", read_file, None, _PEER_TLS, "FILE")
INSECURE = Setting("insecure", read_flag, _C.insecure, "Listen beyond this machine without TLS.")
ELECTION_TIMEOUT_MIN_S = Setting("election_timeout_min_s", seconds(0.05, 60), _C.election_timeout_min_s,
                                 "Shortest silence before an election.", "SECONDS")
ELECTION_TIMEOUT_MAX_S = Setting("election_timeout_max_s", seconds(0.1, 120), _C.election_timeout_max_s,
                                 "Longest silence before an election.", "SECONDS")
HEARTBEAT_S = Setting("heartbeat_s", seconds(0.01, 30), _C.heartbeat_s, "How often a leader says so.", "SECONDS")
JOURNAL_SEGMENT_BYTES = Setting("journal_segment_bytes", integer(1 << 20, 1 << 30), _C.journal_segment_bytes,
                                "Size of a journal file.", "BYTES")
JOURNAL_KEPT_BYTES = Setting("journal_kept_bytes", integer(1 << 20, 1 << 40), _C.journal_kept_bytes,
                             "Journal kept for slow members; who lacks more needs a snapshot.", "BYTES")
DISK_RESERVE_BYTES = Setting("disk_reserve_bytes", integer(0, 1 << 50), _C.disk_reserve_bytes,
                             "Refuse writes with less free space than this.", "BYTES")
WATCH_HISTORY_EVENTS = Setting("watch_history_events", integer(1, 10**12), _C.watch_history_events,
                               "How many events watches can go back.", "EVENTS")
MAX_CONCURRENT_CALLS = Setting("max_concurrent_calls", integer(1, 100_000), _C.max_concurrent_calls,
                               "How many calls are served at once.", "CALLS")
ARCHIVES: Setting[tuple[ArchiveSetting, ...]] = Setting(
    "archives", read_archives, (), "Where retention may archive: a folder that is there, or "
    "s3://BUCKET/PREFIX?endpoint=URL&region=REGION; once for each.", "NAME=WHERE")
RETENTION_EVERY_S = Setting("retention_every_s", seconds(0.1, 7 * 86400), _C.retention_every_s,
                            "How often the leader removes what policies let go.", "SECONDS")
PAYLOAD_GRACE_S = Setting("payload_grace_s", seconds(1, 10 * 366 * 86400), _C.payload_grace_s,
                          "How long a payload stays that nothing refers to.", "SECONDS")
LOG_LEVEL = Setting("log_level", choice("debug", "info", "warning", "error"), _C.log_level,
                    "debug, info, warning or error.", "LEVEL")
LOG_FORMAT = Setting("log_format", choice("json", "text"), _C.log_format, "json (a line each) or text.", "FORMAT")

AnySetting = (Setting[str] | Setting[Path] | Setting[bool] | Setting[int] | Setting[float]
              | Setting[tuple[Member, ...]] | Setting[tuple[str, ...]] | Setting[tuple[ArchiveSetting, ...]])
SETTINGS: Final[tuple[AnySetting, ...]] = (
    NODE_ID, CLUSTER_ID, DATA_FOLDER, CLIENT_ADDRESS, PEER_ADDRESS, ADVERTISE_CLIENT, ADVERTISE_PEER, MEMBERS, JOIN,
    CONTEXTS, HTTP_ADDRESS, WEB_ORIGINS,
    TLS_CA, TLS_CERT, TLS_KEY, TLS_PEER_CA, TLS_PEER_CERT, TLS_PEER_KEY, INSECURE,
    ELECTION_TIMEOUT_MIN_S, ELECTION_TIMEOUT_MAX_S, HEARTBEAT_S, JOURNAL_SEGMENT_BYTES, JOURNAL_KEPT_BYTES,
    DISK_RESERVE_BYTES, WATCH_HISTORY_EVENTS, MAX_CONCURRENT_CALLS, PAYLOAD_GRACE_S,
    ARCHIVES, RETENTION_EVERY_S, LOG_LEVEL, LOG_FORMAT,
)
# fmt: on
