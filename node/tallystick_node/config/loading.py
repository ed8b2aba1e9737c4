"""Looks a node's settings up, and checks how they fit together.

Rules of this file:
- Flags override the environment, which overrides the file.
- Whatever is wrong is a `ConfigError` that names the key and says what to do. Nothing is guessed and nothing is
  ignored, but environment variables that are no setting: others of that prefix belong to the client.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from tallystick_node.config import settings
from tallystick_node.config.readers import read_endpoint, split_address
from tallystick_node.config.settings import SETTINGS, Setting
from tallystick_node.config.values import ConfigError, Member, NodeConfig, S3Location, TLSConfig

T = TypeVar("T")


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
    node_id = values.required(settings.NODE_ID)
    client_address = values.required(settings.CLIENT_ADDRESS)
    peer_address = values.required(settings.PEER_ADDRESS)
    advertised = _advertised(values, node_id, client_address, peer_address)
    tls = _tls(values)
    config = NodeConfig(
        node_id=node_id,
        data_folder=values.required(settings.DATA_FOLDER),
        members=_with_itself(values.required(settings.MEMBERS), advertised),
        join=values.required(settings.JOIN),
        contexts=values.required(settings.CONTEXTS),
        http_address=values.given(settings.HTTP_ADDRESS),
        web_origins=values.required(settings.WEB_ORIGINS),
        cluster_id=values.required(settings.CLUSTER_ID),
        client_address=client_address,
        peer_address=peer_address,
        advertise_client=advertised.client_endpoint,
        advertise_peer=advertised.peer_endpoint,
        tls=tls,
        insecure=values.required(settings.INSECURE),
        election_timeout_min_s=values.required(settings.ELECTION_TIMEOUT_MIN_S),
        election_timeout_max_s=values.required(settings.ELECTION_TIMEOUT_MAX_S),
        heartbeat_s=values.required(settings.HEARTBEAT_S),
        journal_segment_bytes=values.required(settings.JOURNAL_SEGMENT_BYTES),
        journal_kept_bytes=values.required(settings.JOURNAL_KEPT_BYTES),
        disk_reserve_bytes=values.required(settings.DISK_RESERVE_BYTES),
        watch_history_events=values.required(settings.WATCH_HISTORY_EVENTS),
        max_concurrent_calls=values.required(settings.MAX_CONCURRENT_CALLS),
        payload_grace_s=values.required(settings.PAYLOAD_GRACE_S),
        archives=values.required(settings.ARCHIVES),
        retention_every_s=values.required(settings.RETENTION_EVERY_S),
        log_level=values.required(settings.LOG_LEVEL),
        log_format=values.required(settings.LOG_FORMAT),
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
    members = values.required(settings.MEMBERS)
    named = {member.node_id: member for member in members}
    if members and node_id not in named and not values.required(settings.JOIN):
        problem = f'this node, "{node_id}", is not among {", ".join(named)}; name it too, or say join'
        raise ConfigError("members", problem)
    me = named.get(node_id, Member(node_id, peer_address, client_address))
    client = values.given(settings.ADVERTISE_CLIENT) or me.client_endpoint
    peer = values.given(settings.ADVERTISE_PEER) or me.peer_endpoint
    for setting, endpoint, member_endpoint in (
        (settings.ADVERTISE_CLIENT, client, me.client_endpoint),
        (settings.ADVERTISE_PEER, peer, me.peer_endpoint),
    ):
        if node_id in named and endpoint != member_endpoint:
            raise ConfigError(setting.name, f"is {endpoint}, but members say {member_endpoint}; leave it out")
        try:
            read_endpoint(endpoint)
        except ValueError as error:
            raise ConfigError(setting.name, str(error)) from error
    return Member(node_id, peer, client)


def _tls(values: _Values) -> TLSConfig | None:
    files = {setting.name: values.given(setting) for setting in (settings.TLS_CA, settings.TLS_CERT, settings.TLS_KEY)}
    peer = {
        setting.name: values.given(setting)
        for setting in (settings.TLS_PEER_CA, settings.TLS_PEER_CERT, settings.TLS_PEER_KEY)
    }
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
    if any(isinstance(archive.location, S3Location) for archive in config.archives) and find_spec("boto3") is None:
        raise ConfigError("archives", "s3:// needs boto3; install tallystick[s3], or use a folder")
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
