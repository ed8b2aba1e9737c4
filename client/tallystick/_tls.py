"""Certificates of a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tallystick.errors import Invalid


@dataclass(frozen=True, slots=True)
class TLS:
    """What the client trusts and shows. Each is PEM: a path, or the text itself as bytes.

    Attributes:
        ca: the CA that signed the nodes' certificates.
        cert: the client's own certificate, with its chain.
        key: the private key of `cert`; it needs `cert` and `cert` needs it.
    """

    ca: str | Path | bytes
    cert: str | Path | bytes | None = None
    key: str | Path | bytes | None = field(default=None, repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files, once.

        Raises:
            Invalid: only one of `cert` and `key` is given.
            OSError: a file cannot be read.
        """
        if (self.cert is None) != (self.key is None):
            raise Invalid("TLS needs both a certificate and its key, or neither", metadata={"field": "tls"})
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.cert))


def _pem(source: str | Path | bytes | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()
