"""An archive in an S3-compatible store, against moto over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tallystick_node.config.values import S3Location
from tallystick_node.retention.archives.port import ArchiveFailed
from tallystick_node.retention.archives.s3 import S3Archive

NAME = "demo/ann/main/1-2.jsonl.gz"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")


def client(store: str) -> Any:
    return boto3.client("s3", endpoint_url=store, region_name="us-east-1")


async def test_what_was_put_is_in_the_bucket(store: str) -> None:
    client(store).create_bucket(Bucket="kept")
    archive = S3Archive(S3Location("kept", "team/a", store, "us-east-1"))
    for data in (b"first", b"again"):
        assert await archive.put(NAME, data) == f"s3://kept/team/a/{NAME}"
        assert client(store).get_object(Bucket="kept", Key=f"team/a/{NAME}")["Body"].read() == data
    assert await archive.has(NAME) and not await archive.has(NAME + ".other")
    bare = S3Archive(S3Location("kept", "", store, "us-east-1"))
    assert await bare.put(NAME, b"x") == f"s3://kept/{NAME}"
    keys = [each["Key"] for each in client(store).list_objects_v2(Bucket="kept")["Contents"]]
    assert sorted(keys) == [NAME, f"team/a/{NAME}"]


async def test_a_bucket_that_is_not_there_is_said(store: str) -> None:
    with pytest.raises(ArchiveFailed, match="NoSuchBucket"):
        await S3Archive(S3Location("nowhere", "", store, "us-east-1")).put(NAME, b"x")


async def test_a_store_that_does_not_answer_is_said() -> None:
    location = S3Location("kept", "", "http://127.0.0.1:9", "us-east-1")
    with pytest.raises(ArchiveFailed, match="Could not connect"):
        await S3Archive(location).put(NAME, b"x")
    with pytest.raises(ArchiveFailed, match="Could not connect"):
        await S3Archive(location).has(NAME)


async def test_credentials_that_are_missing_are_said(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(ArchiveFailed, match="credentials"):
        await S3Archive(S3Location("kept", "", store, "us-east-1")).put(NAME, b"x")
