"""`tallystick certs`: certificates for development, made here and now.

Rules of this file:
- What exists is never overwritten: a CA is made once and used again, a certificate that is there is kept.
- Private keys are files of mode 0600, made so, not changed so.
- A node's certificate may listen and connect (nodes do both); a client's may only connect. The subject's OU tells them
  apart too, so that a client's certificate can never pass for a node's.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.config.readers import read_node_id

NODE_ROLE: Final = "tallystick node"
CLIENT_ROLE: Final = "tallystick client"
_CA_DAYS: Final = 3650
_CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its certificate and the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is for: its name, role, the names it is reached by, and whether it may listen."""

    name: str
    role: str
    alternatives: tuple[x509.GeneralName, ...]
    listens: bool


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--node", "nodes", multiple=True, metavar="ID", help="A node that gets a certificate.  [default: a, b, c]"
)
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="Where nodes are reached.  [default: this machine]"
)
@click.option("--client", "clients", multiple=True, metavar="NAME", help="A client that gets one.  [default: client]")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long they are good.")
def certs(folder: Path, nodes: tuple[str, ...], hosts: tuple[str, ...], clients: tuple[str, ...], days: int) -> None:
    """Make a CA and certificates, for development. In FOLDER, for nodes and clients.

    Run it again for more: the CA and all that exists stays as it is. For production use certificates of your own CA.
    """
    reached = tuple(general_name(host) for host in hosts or ("127.0.0.1", "::1", "localhost"))
    subjects = {f"node-{name}": node_subject(name, reached) for name in nodes or ("a", "b", "c")}
    subjects |= {f"client-{name}": client_subject(name) for name in clients or ("client",)}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _authority(folder)
    for stem, subject in subjects.items():
        _issue_once(folder, stem, authority, subject, days)
    node, client = (next(stem for stem in subjects if stem.startswith(kind)) for kind in ("node-", "client-"))
    click.echo(f"\na node:    tallystick serve ... {_tls_flags(folder, node)}")
    click.echo(f"a client:  tallystick status {_tls_flags(folder, client)}")
    click.echo(f"Keep {folder}/ca-key.pem to yourself: who has it can be any node and any client.")


def _tls_flags(folder: Path, stem: str) -> str:
    return f"--tls-ca {folder}/ca.pem --tls-cert {folder}/{stem}.pem --tls-key {folder}/{stem}-key.pem"


def general_name(host: str) -> x509.GeneralName:
    """The subject alternative name for an IP address or a host name; Failure for what names a node or a client."""
    if host.lower().rstrip(".").endswith(".tallystick"):
        raise Failure(f'--host "{host}" would let a node pass for another', ExitCode.USAGE)
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise Failure(f'--host "{host}" is neither an IP address nor a host name', ExitCode.USAGE) from error


def node_subject(node_id: str, reached: tuple[x509.GeneralName, ...]) -> Subject:
    """A node: bound to its id by the name `<id>.node.tallystick`, and reached by the names given."""
    own = x509.DNSName(f"{_checked(node_id)}.node.tallystick")
    return Subject(node_id, NODE_ROLE, (own, *reached), listens=True)


def client_subject(name: str) -> Subject:
    """A client: bound to its name by `<name>.client.tallystick`."""
    return Subject(name, CLIENT_ROLE, (x509.DNSName(f"{_checked(name)}.client.tallystick"),), listens=False)


def _checked(name: str) -> str:
    try:
        return read_node_id(name)
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error


def _authority(folder: Path) -> Authority:
    """The CA of the folder, made if there is none."""
    cert_path, key_path = folder / "ca.pem", folder / "ca-key.pem"
    if cert_path.exists() or key_path.exists():
        return _load_authority(cert_path, key_path)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tallystick development CA")])
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key.public_key(), _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_path, key)
    _write_certificate(cert_path, certificate)
    return Authority(certificate, key)


def _load_authority(cert_path: Path, key_path: Path) -> Authority:
    try:
        certificate = x509.load_pem_x509_certificate(cert_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise Failure(
            f"{error.filename} is missing beside its other half; put it back, or use another folder", ExitCode.REFUSED
        ) from error
    except (ValueError, TypeError) as error:
        raise Failure(f"{cert_path} and {key_path} are no CA that can sign: {error}", ExitCode.REFUSED) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Failure(f"{key_path} is not the key of {cert_path}", ExitCode.REFUSED)
    click.echo(f"kept   {cert_path}")
    return Authority(certificate, key)


def _issue_once(folder: Path, stem: str, authority: Authority, subject: Subject, days: int) -> None:
    cert_path, key_path = folder / f"{stem}.pem", folder / f"{stem}-key.pem"
    if cert_path.exists():
        click.echo(f"kept   {cert_path}  (delete it and its key for a new one)")
        return
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(key_path, key)
    _write_certificate(cert_path, issue(authority, subject, key.public_key(), days))


def issue(authority: Authority, subject: Subject, key: ec.EllipticCurvePublicKey, days: int) -> x509.Certificate:
    """A certificate of this CA for this subject and key, good for so many days."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, subject.role),
            x509.NameAttribute(NameOID.COMMON_NAME, subject.name),
        ]
    )
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if subject.listens else [])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        _builder(name, authority.certificate.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(subject.alternatives), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_new(path, pem, mode=0o600)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    _write_new(path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Writes a file that must not exist yet (OSError if it does)."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    click.echo(f"wrote  {path}")
