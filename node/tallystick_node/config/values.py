"""What a node is told, as it is handed on: checked values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class S3Location:
    """A place in an S3-compatible store; empty endpoint and region: as boto3 finds them."""

    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveSetting:
    """An archive: the name that policies have of it, and where it is: a folder, or in a store."""

    name: str
    location: Path | S3Location


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
    payload_grace_s: float = 24 * 3600.0
    archives: tuple[ArchiveSetting, ...] = ()
    retention_every_s: float = 900.0
    log_level: str = "info"
    log_format: str = "json"
