"""JSON values and pointers: what is admitted and what is refused, with which reason."""

from __future__ import annotations

import hashlib

import pytest

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits
from tallystick_node.core.chain import hash_mutation
from tallystick_node.core.pointer import check_pointer, parse_pointer
from tallystick_node.core.values import canonical_json, digest_json, json_depth, parse_json


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nope",
        b"NaN",
        b"Infinity",
        b"1e999",
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"[1,]",
        b"18446744073709551616",
        b"-9223372036854775809",
        b'{"a":[1,-99999999999999999999999999]}',
        b"[" * 2000,
    ],
)
def test_refused_as_json(text: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(text, "payload")
    assert caught.value.reason is Reason.INVALID_JSON
    assert caught.value.metadata["field"] == "payload"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"18446744073709551616"', "18446744073709551616"),
        (b"1.8446744073709551616e19", 2.0**64),
        (b"1e300", 1e300),
    ],
)
def test_admitted_numbers_keep_their_kind(text: bytes, expected: object) -> None:
    value = parse_json(text)
    assert value == expected
    assert type(value) is type(expected)


def test_depth_has_a_limit() -> None:
    deep = b"[" * limits.JSON_DEPTH + b"]" * limits.JSON_DEPTH
    assert json_depth(parse_json(deep), 1000) == limits.JSON_DEPTH
    with pytest.raises(Invalid) as caught:
        parse_json(b'{"a":' + deep + b"}")
    assert caught.value.reason is Reason.TOO_DEEP
    assert caught.value.metadata["limit"] == str(limits.JSON_DEPTH)


def test_canonical_json_sorts_keys_and_digests() -> None:
    assert (
        canonical_json({"b": [1.0, None], "a": {"z": 1, "é": "é"}}) == '{"a":{"z":1,"é":"é"},"b":[1.0,null]}'.encode()
    )
    assert digest_json({}) == hashlib.sha256(b"{}").digest()


@pytest.mark.parametrize("text", ["x", "x/y", "/~", "/~2", "/a~"])
def test_refused_as_pointer(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_pointer(text)
    assert caught.value.reason is Reason.INVALID_POINTER


@pytest.mark.parametrize(
    ("text", "tokens"), [("", ()), ("/", ("",)), ("/a/", ("a", "")), ("/~01", ("~1",)), ("/~10", ("/0",))]
)
def test_pointer_tokens(text: str, tokens: tuple[str, ...]) -> None:
    assert parse_pointer(text) == tokens


@pytest.mark.parametrize("text", ["/" + "x" * limits.POINTER_BYTES, "/x" * (limits.POINTER_TOKENS + 1)])
def test_pointer_limits(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_pointer(text)
    assert caught.value.reason is Reason.TOO_LARGE


def test_the_hash_of_a_mutation_is_what_the_format_says() -> None:
    wanted = hashlib.sha256(
        b"\x07" * 32 + (5).to_bytes(8, "big") + (1234).to_bytes(8, "big") + (2).to_bytes(4, "big") + b"me" + b"raw"
    )
    assert hash_mutation(b"\x07" * 32, 5, 1234, b"me", b"raw") == wanted.digest()
