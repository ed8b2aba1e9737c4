"""`tallystick certs`: what it makes is good for TLS, and only for what it says."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tallystick_node.cli import main


def certs(folder: Path, *flags: str) -> Result:
    return CliRunner().invoke(main, ["certs", str(folder), *flags])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "certs"
    result = certs(made, "--node", "a", "--node", "b", "--client", "ann", "--host", "127.0.0.1", "--host", "db.example")
    assert result.exit_code == 0, result.output
    assert str(made / "node-b.pem") in result.output
    return made


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def context(folder: Path, stem: str, purpose: int) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(folder / "ca.pem")
    made.load_cert_chain(folder / f"{stem}.pem", folder / f"{stem}-key.pem")
    return made


def handshake(folder: Path, server: str, client: str, name: str) -> None:
    """A whole handshake of TLS, each side checking the other, over memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        context(folder, client, ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server, server_hostname=name),
        context(folder, server, ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
        if not sides:
            return
    raise AssertionError("the handshake does not end")


def test_cryptography_verifies_nodes_as_servers_and_clients_as_clients(folder: Path) -> None:
    policy = PolicyBuilder().store(Store([load(folder / "ca.pem")])).time(datetime.now(UTC))
    node, client = load(folder / "node-a.pem"), load(folder / "client-ann.pem")
    for name in (
        x509.DNSName("a.node.tallystick"),
        x509.DNSName("db.example"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ):
        policy.build_server_verifier(name).verify(node, [])
    names = policy.build_client_verifier().verify(client, []).subjects
    assert names == [x509.DNSName("ann.client.tallystick")]
    policy.build_client_verifier().verify(node, [])  # nodes connect to nodes
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("ann.client.tallystick")).verify(client, [])
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("b.node.tallystick")).verify(node, [])


@pytest.mark.parametrize(
    ("server", "client", "name"),
    [
        ("node-a", "client-ann", "127.0.0.1"),
        ("node-a", "node-b", "a.node.tallystick"),
        ("node-b", "node-a", "db.example"),
    ],
)
def test_a_real_handshake(folder: Path, server: str, client: str, name: str) -> None:
    handshake(folder, server, client, name)


@pytest.mark.parametrize(
    ("server", "client", "name"),
    [
        ("node-a", "client-ann", "b.node.tallystick"),  # another node
        ("client-ann", "node-a", "ann.client.tallystick"),  # a client cannot pass for a server
    ],
)
def test_a_handshake_that_must_fail(folder: Path, server: str, client: str, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, server, client, name)


def test_roles_are_told_apart_by_the_subject_and_the_uses(folder: Path) -> None:
    for stem, role, name, uses in (
        ("node-a", "tallystick node", "a", {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}),
        ("client-ann", "tallystick client", "ann", {ExtendedKeyUsageOID.CLIENT_AUTH}),
    ):
        certificate = load(folder / f"{stem}.pem")
        subject = certificate.subject
        assert [found.value for found in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)] == [role]
        assert [found.value for found in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [name]
        assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == uses
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    keys = sorted(path.name for path in folder.glob("*-key.pem"))
    assert keys == ["ca-key.pem", "client-ann-key.pem", "node-a-key.pem", "node-b-key.pem"]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*-key.pem")} == {0o600}


def test_a_second_run_overwrites_nothing_and_uses_the_ca(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = certs(folder, "--node", "a", "--node", "c", "--client", "ann", "--days", "30")
    assert result.exit_code == 0, result.output
    assert {name: (folder / name).read_bytes() for name in before} == before
    made = load(folder / "node-c.pem")
    made.verify_directly_issued_by(load(folder / "ca.pem"))
    left = made.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


@pytest.mark.parametrize("lost", ["ca.pem", "ca-key.pem"])
def test_half_a_ca_is_refused_and_left_alone(folder: Path, lost: str) -> None:
    (folder / lost).unlink()
    result = certs(folder, "--node", "d")
    assert result.exit_code == 1
    assert lost in result.output
    assert not (folder / lost).exists()
    assert not (folder / "node-d.pem").exists()


def test_the_key_of_another_ca_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    certs(other)
    (folder / "ca-key.pem").write_bytes((other / "ca-key.pem").read_bytes())
    assert certs(folder, "--node", "d").exit_code == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--node", "A B"),
        ("--client", "ann.ops"),
        ("--host", "ü.example"),
        ("--host", "b.node.tallystick"),
        ("--days", "0"),
    ],
)
def test_bad_names_are_usage_errors_and_write_nothing(tmp_path: Path, flags: tuple[str, str]) -> None:
    result = certs(tmp_path / "new", *flags)
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()
