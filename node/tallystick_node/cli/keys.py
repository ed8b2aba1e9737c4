"""Ed25519 keys in PEM files, for signed exports. `openssl genpkey -algorithm ed25519` makes one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tallystick.errors import Corrupt
from tallystick.history.export_format import ExportEnd, Sign, Signature
from tallystick_node.cli.exits import ExitCode, Failure


def load_sign(path: Path) -> Sign:
    """What signs with the private key of a file; Failure where it holds none of Ed25519."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private")
    public = _raw(key.public_key())
    return lambda message: Signature(public, key.sign(message))


def load_public(path: Path) -> bytes:
    """The public key of a file, 32 bytes; Failure where it holds none of Ed25519."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return _raw(key)


def signer(end: ExportEnd) -> bytes | None:
    """The public key that signed an export, None if none did; Corrupt where the signature is not of that key."""
    signature = end.signature
    if signature is None:
        return None
    try:
        Ed25519PublicKey.from_public_bytes(signature.public_key).verify(signature.signature, end.message)
    except (ValueError, InvalidSignature) as error:
        raise Corrupt("the signature is not of these bytes") from error
    return signature.public_key


def fingerprint(public_key: bytes) -> str:
    """Names a key in short: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _no_key(path: Path, kind: str) -> Failure:
    return Failure(f"{path} holds no {kind} key of Ed25519 in PEM without a password", ExitCode.USAGE)
