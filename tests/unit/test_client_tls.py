"""TLS: the client talks to whom its CA vouches for, and to no one else."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import tallystick
from tallystick import ops
from tests.unit.client_kit import History, Node


def self_signed() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate, text


async def test_the_client_and_the_node_know_each_other(tmp_path: Path) -> None:
    (node_cert, node_key), (client_cert, client_key), (other_cert, _) = (self_signed() for _ in range(3))
    ca_path = tmp_path / "ca.pem"
    ca_path.write_bytes(node_cert)
    node = Node(History(), "n1")
    await node.start(
        credentials=grpc.ssl_server_credentials([(node_key, node_cert)], client_cert, require_client_auth=True)
    )
    known = tallystick.TLS(ca=ca_path, cert=client_cert, key=client_key)
    strangers = [
        tallystick.TLS(ca=other_cert, cert=client_cert, key=client_key),
        tallystick.TLS(ca=node_cert),
        None,
    ]
    try:
        async with tallystick.connect(node.endpoint, namespace="demo", tls=known) as client:
            assert (await client.agent("migrator").append(ops.set("/a", 1))).seq == 1
        for stranger in strangers:
            async with tallystick.connect(node.endpoint, namespace="demo", tls=stranger, timeout_s=0.5) as client:
                with pytest.raises(tallystick.TallystickError):
                    await client.agent("migrator").append(ops.set("/a", 1))
        assert len(node.history.events) == 1
    finally:
        await node.stop()
