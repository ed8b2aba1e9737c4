"""The node's configuration: which place wins, and that whatever is wrong is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tallystick_node.config import loading
from tallystick_node.config.settings import SETTINGS
from tallystick_node.config.values import ArchiveSetting, ConfigError, Member, NodeConfig, S3Location

MINIMAL: dict[str, object] = {"node_id": "a", "data_folder": "/data"}
THREE = ("a=127.0.0.1:7421,127.0.0.1:7420", "b=127.0.0.1:7431,127.0.0.1:7430", "c=127.0.0.1:7441,127.0.0.1:7440")


def load(**flags: object) -> NodeConfig:
    return loading.load({**MINIMAL, **flags}, {})


def failing(**flags: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(**flags)
    return caught.value


def toml(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def pem(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("", encoding="utf-8")
    return path


def test_a_minimal_node_is_a_cluster_of_its_own() -> None:
    made = load()
    assert made.members == (Member("a", "127.0.0.1:7421", "127.0.0.1:7420"),)
    assert made.data_folder == Path("/data")
    assert (made.advertise_client, made.advertise_peer) == ("127.0.0.1:7420", "127.0.0.1:7421")
    assert made.tls is None


def test_every_setting_but_tls_is_a_field_with_the_same_default() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(NodeConfig)}
    for setting in SETTINGS:
        if setting.name.startswith("tls_"):
            continue
        default = fields.pop(setting.name)
        if setting.default not in (None, ()):
            assert default == setting.default, setting.name
    assert list(fields) == ["tls"]


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'log_level = "debug"\nmax_concurrent_calls = 1\nheartbeat_s = 0.05\n')
    environment = {"TALLYSTICK_LOG_LEVEL": "error", "TALLYSTICK_MAX_CONCURRENT_CALLS": "2"}
    made = loading.load({**MINIMAL, "log_level": "warning"}, environment, file)
    assert (made.log_level, made.max_concurrent_calls, made.heartbeat_s) == ("warning", 2, 0.05)


def test_the_whole_configuration_can_stand_in_any_of_the_places(tmp_path: Path) -> None:
    values: dict[str, object] = {
        "node_id": "b",
        "cluster_id": "Prod-1",
        "data_folder": "/var/lib/tallystick",
        "client_address": "127.0.0.1:7430",
        "peer_address": "[::1]:7431",
        "members": ["a=10.0.0.1:7421,10.0.0.1:7420", "b=node-b:7431,[fd00::2]:7430"],
        "http_address": "10.0.0.2:7432",
        "web_origins": ["https://board.example", "http://localhost:3000"],
        "insecure": True,
        "election_timeout_min_s": 1.5,
        "election_timeout_max_s": 3,
        "heartbeat_s": 0.25,
        "disk_reserve_bytes": 0,
        "archives": ["cold=/mnt/archive", "far=s3://kept/a/b/?endpoint=http://127.0.0.1:9000&region=x"],
        "retention_every_s": 60,
        "log_format": "text",
    }
    lines = [f"{name} = {str(value).lower() if isinstance(value, bool) else value!r}" for name, value in values.items()]
    from_file = loading.load({}, {}, toml(tmp_path, "\n".join(lines)))
    texts = {
        name: " ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in values.items()
    }
    from_environment = loading.load({}, {f"TALLYSTICK_{name.upper()}": text for name, text in texts.items()})
    lists = {name: tuple(texts[name].split()) for name in ("members", "web_origins", "archives")}
    from_flags = loading.load({**texts, **lists}, {})
    assert from_file == from_environment == from_flags
    assert from_file.members[1] == Member("b", "node-b:7431", "[fd00::2]:7430")
    assert from_file.advertise_peer == "node-b:7431"
    assert from_file.election_timeout_max_s == 3.0
    assert from_file.archives == (
        ArchiveSetting("cold", Path("/mnt/archive")),
        ArchiveSetting("far", S3Location("kept", "a/b", "http://127.0.0.1:9000", "x")),
    )


def test_false_and_zero_in_the_file_are_values(tmp_path: Path) -> None:
    made = loading.load(MINIMAL, {}, toml(tmp_path, "insecure = false\ndisk_reserve_bytes = 0\n"))
    assert (made.insecure, made.disk_reserve_bytes) == (False, 0)


def test_an_empty_variable_is_not_set_and_the_clients_variables_are_no_business_of_the_node() -> None:
    made = loading.load(
        MINIMAL, {"TALLYSTICK_CLUSTER_ID": "", "TALLYSTICK_ENDPOINTS": "x:1", "TALLYSTICK_TIMEOUT": "9"}
    )
    assert made.cluster_id == "tallystick"


@pytest.mark.parametrize("missing", ["node_id", "data_folder"])
def test_what_is_missing_is_named_with_all_its_places(missing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loading.load({name: value for name, value in MINIMAL.items() if name != missing}, {})
    flag = "--" + missing.replace("_", "-")
    assert caught.value.key == missing
    assert flag in str(caught.value) and f"TALLYSTICK_{missing.upper()}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node_id", "A"),
        ("node_id", "-a"),
        ("node_id", "a" * 33),
        ("node_id", 7),
        ("cluster_id", "a b"),
        ("data_folder", " "),
        ("client_address", "7420"),
        ("client_address", "127.0.0.1:0"),
        ("client_address", "127.0.0.1:65536"),
        ("client_address", "127.0.0.1:\uff11"),
        ("client_address", "::1:7420"),
        ("client_address", "[127.0.0.1]:7420"),
        ("client_address", ":7420"),
        ("peer_address", "a/b:7420"),
        ("advertise_client", "host:"),
        ("members", "a"),
        ("members", "a=127.0.0.1:7421"),
        ("members", "a=127.0.0.1:7421,x"),
        ("members", "A=127.0.0.1:7421,127.0.0.1:7420"),
        ("members", [1]),
        ("members", 1),
        ("insecure", "maybe"),
        ("insecure", 1),
        ("heartbeat_s", "soon"),
        ("heartbeat_s", "nan"),
        ("heartbeat_s", "inf"),
        ("heartbeat_s", True),
        ("heartbeat_s", -1),
        ("max_concurrent_calls", "1.5"),
        ("max_concurrent_calls", 1.5),
        ("max_concurrent_calls", True),
        ("max_concurrent_calls", 0),
        ("journal_segment_bytes", 1),
        ("archives", "/mnt/archive"),
        ("archives", "cold=archive"),
        ("archives", "cold="),
        ("archives", "a/b=/mnt/archive"),
        ("archives", "cold=/a cold=/b"),
        ("archives", "cold=ftp://kept/a"),
        ("archives", "cold=s3:///a"),
        ("archives", "cold=s3://kept?endpoint=127.0.0.1:9000"),
        ("archives", "cold=s3://kept?key=secret"),
        ("archives", "cold=s3://kept?region"),
        ("retention_every_s", 0),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("tls_ca", "/no/such/file"),
    ],
)
def test_a_bad_value_names_its_key(key: str, value: object) -> None:
    assert failing(**{key: value}).key == key


def test_numbers_in_the_environment_may_have_underscores() -> None:
    assert load(watch_history_events="2_000").watch_history_events == 2000


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ((*THREE, "a=127.0.0.1:1,127.0.0.1:2"), '"a"'),
        ((*THREE, "d=127.0.0.1:7421,127.0.0.1:2"), '"127.0.0.1:7421"'),
        ((*THREE, "d=127.0.0.1:7440,127.0.0.1:2"), '"127.0.0.1:7440"'),
        (tuple(f"n{i}=h:{2 * i + 1},h:{2 * i + 2}" for i in range(10)), "at most 9"),
    ],
)
def test_members_are_distinct_and_few(members: tuple[str, ...], what: str) -> None:
    error = failing(members=members)
    assert error.key == "members"
    assert what in str(error)


def test_a_node_that_is_not_among_the_members_is_refused() -> None:
    error = failing(node_id="d", members=THREE)
    assert error.key == "members"
    assert '"d"' in str(error)


def test_who_joins_need_not_be_among_the_members() -> None:
    made = load(node_id="d", members=THREE, join=True, client_address="127.0.0.1:7450", peer_address="127.0.0.1:7451")
    assert made.join and not load().join
    assert [member.node_id for member in made.members] == ["a", "b", "c", "d"]
    assert made.members[-1] == Member("d", "127.0.0.1:7451", "127.0.0.1:7450")
    advertised = load(
        node_id="d",
        members=THREE,
        join="true",
        advertise_client="10.0.0.4:7420",
        advertise_peer="10.0.0.4:7421",
    )
    assert advertised.members[-1] == Member("d", "10.0.0.4:7421", "10.0.0.4:7420")
    named = load(members=THREE, join=True)
    assert [member.node_id for member in named.members] == ["a", "b", "c"]


@pytest.mark.parametrize("members", [(), THREE[:1]])
def test_who_joins_must_know_where_the_cluster_is(members: tuple[str, ...]) -> None:
    assert failing(members=members, join=True).key == "join"


def test_what_a_node_advertises_is_what_members_say() -> None:
    made = load(members=("a=10.0.0.1:7421,10.0.0.1:7420",), client_address="0.0.0.0:7420", insecure=True)
    assert (made.advertise_client, made.advertise_peer) == ("10.0.0.1:7420", "10.0.0.1:7421")
    assert failing(members=THREE, advertise_client="10.0.0.9:7420").key == "advertise_client"


def test_an_address_that_means_everywhere_is_not_advertised() -> None:
    assert failing(client_address="0.0.0.0:7420", insecure=True).key == "advertise_client"
    assert failing(peer_address="[::]:7421", insecure=True).key == "advertise_peer"
    made = load(client_address="0.0.0.0:7420", advertise_client="10.0.0.1:7420", insecure=True)
    assert made.members == (Member("a", "127.0.0.1:7421", "10.0.0.1:7420"),)


@pytest.mark.parametrize("key", ["client_address", "peer_address", "http_address"])
@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "[fd00::1]"])
def test_beyond_this_machine_only_with_tls_or_insecure(key: str, host: str, tmp_path: Path) -> None:
    address = f"{host}:9000"
    error = failing(**{key: address})
    assert error.key == key
    assert "insecure" in str(error) and "tls_ca" in str(error)
    assert getattr(load(**{key: address}, insecure=True), key) == address
    tls = {name: str(pem(tmp_path, name)) for name in ("tls_ca", "tls_cert", "tls_key")}
    assert getattr(load(**{key: address}, **tls), key) == address


@pytest.mark.parametrize("host", ["localhost", "127.8.8.8", "[::1]"])
def test_loopback_needs_neither(host: str) -> None:
    assert load(client_address=f"{host}:9000").tls is None


def test_tls_between_nodes_is_that_of_clients_unless_set(tmp_path: Path) -> None:
    files = {name: pem(tmp_path, name) for name in ("tls_ca", "tls_cert", "tls_key", "tls_peer_cert", "tls_peer_key")}
    tls = load(**files).tls
    assert tls is not None
    assert (tls.ca, tls.cert, tls.key) == (files["tls_ca"], files["tls_cert"], files["tls_key"])
    assert (tls.peer_ca, tls.peer_cert, tls.peer_key) == (tls.ca, files["tls_peer_cert"], files["tls_peer_key"])


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (("tls_ca",), "tls_cert"),
        (("tls_ca", "tls_cert"), "tls_key"),
        (("tls_cert", "tls_key"), "tls_ca"),
        (("tls_peer_ca",), "tls_ca"),
        (("tls_ca", "tls_cert", "tls_key", "tls_peer_cert"), "tls_peer_key"),
        (("tls_ca", "tls_cert", "tls_key", "tls_peer_key"), "tls_peer_cert"),
    ],
)
def test_half_of_tls_is_refused(given: tuple[str, ...], key: str, tmp_path: Path) -> None:
    assert failing(**{name: pem(tmp_path, name) for name in given}).key == key


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"election_timeout_min_s": 1, "election_timeout_max_s": 1}, "election_timeout_max_s"),
        ({"heartbeat_s": 0.3}, "heartbeat_s"),
        ({"peer_address": "127.0.0.1:7420"}, "peer_address"),
    ],
)
def test_values_must_fit_each_other(flags: dict[str, object], key: str) -> None:
    assert failing(**flags).key == key


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('node_idd = "a"', "node_idd", 'did you mean "node_id"?'),
        ("xyz = 1", "xyz", "the settings are"),
        ('node_id = "a', "config", "no TOML"),
        ("[node]\nid = 1", "node", "no setting"),
        ('max_concurrent_calls = "many"', "max_concurrent_calls", "whole number"),
        ("members = [[1]]", "members", "expected text"),
    ],
)
def test_a_bad_file_is_refused(text: str, key: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loading.load(MINIMAL, {}, toml(tmp_path, text))
    assert caught.value.key == key
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        loading.load(MINIMAL, {}, tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'node_id = "\xe9"')
    with pytest.raises(ConfigError, match="no TOML"):
        loading.load(MINIMAL, {}, latin)


def test_a_store_without_what_it_takes_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _name: None)
    assert "tallystick[s3]" in str(failing(archives=("far=s3://kept",)))
    assert load(archives=("cold=/mnt/archive",)).archives[0].name == "cold"
