"""An archive in an S3-compatible store.

Rules of this file:
- A put that was answered is durable; the store checks the bytes by their MD5 before it answers.
- Credentials are where boto3 looks for them (environment, shared files, the machine's role), never in a setting.
- boto3 is an extra, loaded when such an archive is opened.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final, Protocol

from tallystick_node.config.values import S3Location
from tallystick_node.retention.archives.port import Apart, ArchiveFailed, on_a_thread

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 20.0
ATTEMPTS: Final = 3


class _Puts(Protocol):
    """What is used of boto3's client."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentMD5: str, ContentType: str) -> object:  # noqa: N803
        """Stores an object."""


class S3Archive:
    """See the module."""

    def __init__(self, location: S3Location, apart: Apart = on_a_thread) -> None:
        self._location = location
        self._apart = apart
        self._client: _Puts | None = None

    async def put(self, name: str, data: bytes) -> str:
        """See `Archive`."""
        return await self._apart(lambda: self._put(name, data))

    def _put(self, name: str, data: bytes) -> str:
        import botocore.exceptions

        bucket, prefix = self._location.bucket, self._location.prefix
        key = f"{prefix}/{name}" if prefix else name
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            if self._client is None:
                self._client = _open(self._location)
            self._client.put_object(
                Bucket=bucket, Key=key, Body=data, ContentMD5=digest, ContentType="application/gzip"
            )
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ValueError) as error:
            raise ArchiveFailed(f"cannot put s3://{bucket}/{key}: {error}") from error
        return f"s3://{bucket}/{key}"


def _open(location: S3Location) -> _Puts:
    import boto3
    from botocore.config import Config

    client: _Puts = boto3.session.Session().client(
        "s3",
        endpoint_url=location.endpoint or None,
        region_name=location.region or None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            # Other stores than Amazon's know no newer checksums; MD5 they all know.
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"} if location.endpoint else {},
        ),
    )
    return client
