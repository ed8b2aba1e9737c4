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

_NOT_THERE: Final = frozenset({"404", "NoSuchKey", "NotFound", "403", "AccessDenied"})
"""Who may not list a bucket is told 403 of what is not there."""


class _Objects(Protocol):
    """What is used of boto3's client."""

    def head_object(self, *, Bucket: str, Key: str) -> object:  # noqa: N803
        """Raises unless an object is there."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentMD5: str, ContentType: str) -> object:  # noqa: N803
        """Stores an object."""


class S3Archive:
    """See the module."""

    def __init__(self, location: S3Location, apart: Apart = on_a_thread) -> None:
        self._location = location
        self._apart = apart
        self._client: _Objects | None = None

    async def put(self, name: str, data: bytes) -> str:
        """See `Archive`."""
        return await self._apart(lambda: self._put(name, data))

    async def has(self, name: str) -> bool:
        """See `Archive`."""
        return await self._apart(lambda: self._has(name))

    def _has(self, name: str) -> bool:
        import botocore.exceptions

        bucket, key = self._location.bucket, self._key(name)
        try:
            self._opened().head_object(Bucket=bucket, Key=key)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_THERE:
                return False
            raise ArchiveFailed(f"cannot look for s3://{bucket}/{key}: {error}") from error
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise ArchiveFailed(f"cannot look for s3://{bucket}/{key}: {error}") from error
        return True

    def _key(self, name: str) -> str:
        return f"{self._location.prefix}/{name}" if self._location.prefix else name

    def _opened(self) -> _Objects:
        if self._client is None:
            self._client = _open(self._location)
        return self._client

    def _put(self, name: str, data: bytes) -> str:
        import botocore.exceptions

        bucket, key = self._location.bucket, self._key(name)
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            self._opened().put_object(
                Bucket=bucket, Key=key, Body=data, ContentMD5=digest, ContentType="application/octet-stream"
            )
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ValueError) as error:
            raise ArchiveFailed(f"cannot put s3://{bucket}/{key}: {error}") from error
        return f"s3://{bucket}/{key}"


def _open(location: S3Location) -> _Objects:
    import boto3
    from botocore.config import Config

    client: _Objects = boto3.session.Session().client(
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
