"""The format: what Yjs and pycrdt write is read; what would harm is refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.limits import LAST_WRITER, UPDATE_DEPTH
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.decode import Kind, decode
from tallystick_node.contexts.updates.ids import Id

from . import written_by_yjs
from .build import item, number, string, update


def reason(data: bytes) -> Reason:
    with pytest.raises(Invalid) as caught:
        decode(data)
    return caught.value.reason


def content(kind: int, data: bytes) -> bytes:
    return update({5: (0, [item(kind, data)])})


def nested(depth: int) -> bytes:
    return content(8, b"\1" + b"\x75\1" * depth + b"\x7e")


def test_what_yjs_writes_is_admitted_edit_by_edit() -> None:
    known: dict[int, int] = {}
    doc: Doc[Text] = Doc()
    for data in map(bytes.fromhex, written_by_yjs.UPDATES):
        admitted = admit(data, known, origin=Origin.WEB, web_writers=(77,))
        assert (admitted.lacks, admitted.is_novel) == (False, True)
        known = admitted.after
        doc.apply_update(data)
        assert state_vectors.decode(doc.get_state()) == known


def test_the_state_of_a_yjs_document_is_read_as_yjs_knows_it() -> None:
    read = decode(bytes.fromhex(written_by_yjs.STATE), with_structs=True)
    vector = state_vectors.decode(bytes.fromhex(written_by_yjs.STATE_VECTOR))
    assert {writer: ranges[-1][1] for writer, ranges in read.ranges.items()} == vector
    assert read.roots == {"m", "l", "t", "x"}
    assert {one.kind for one in read.structs} == set(Kind) - {Kind.EMBED}
    doc: Doc[Any] = Doc()
    doc.apply_update(bytes.fromhex(written_by_yjs.STATE))
    assert str(doc.get("t", type=Text)) == written_by_yjs.TEXT
    assert doc.get("l", type=Array).to_py() == written_by_yjs.LIST


def test_half_an_emoji_as_yjs_writes_it_is_read() -> None:
    assert decode(bytes.fromhex(written_by_yjs.HALF_A_PAIR)).ranges == {5: ((0, 4),)}


@pytest.mark.parametrize("data", [written_by_yjs.XML_HOOK, written_by_yjs.DOCUMENT_INSIDE])
def test_what_yjs_may_write_but_nobody_here_can_hold_is_refused(data: str) -> None:
    assert reason(bytes.fromhex(data)) is Reason.MALFORMED_UPDATE


def test_pycrdt_reads_one_json_value_more_than_is_written_so_that_kind_is_refused() -> None:
    one_value = content(2, b"\1" + string("1"))
    with pytest.raises(ValueError, match="end of buffer"):
        Doc().apply_update(one_value)
    assert reason(one_value) is Reason.MALFORMED_UPDATE


def test_structs_say_where_they_stand() -> None:
    data = update(
        {
            5: (3, [item(4, string("héllo"), parent="t"), item(7, b"\1", parent="m", key="k")]),
            9: (0, [bytes([0, 2]), item(origin=(5, 4), right_origin=(5, 7)), item(parent=(5, 8), key="in")]),
        },
        {5: [(0, 2)], 9: [(1, 2), (2, 3)]},
    )
    read = decode(data, with_structs=True)
    assert [tuple(one)[:8] for one in read.structs] == [
        (5, 3, 5, Kind.STRING, "t", None, None, None),
        (5, 8, 1, Kind.TYPE, "m", "k", None, None),
        (9, 0, 2, Kind.GC, None, None, None, None),
        (9, 2, 1, Kind.ANY, None, None, Id(5, 4), Id(5, 7)),
        (9, 3, 1, Kind.ANY, Id(5, 8), "in", None, None),
    ]
    assert read.ranges == {5: ((3, 9),), 9: ((0, 4),)}
    assert read.refs == {5: 9}
    assert read.deletes == {5: ((0, 2),), 9: ((1, 3),)}
    assert read.types == 1
    assert read.roots == {"t", "m"}


def test_a_value_may_nest_to_the_bound_and_no_deeper() -> None:
    assert decode(nested(UPDATE_DEPTH)).ranges == {5: ((0, 1),)}
    assert reason(nested(UPDATE_DEPTH + 1)) is Reason.TOO_DEEP
    assert reason(nested(40_000)) is Reason.TOO_DEEP


def test_json_may_nest_to_the_bound_and_no_deeper() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        decode(content(5, string(opening * UPDATE_DEPTH + "1" + closing * UPDATE_DEPTH)))
        deep = UPDATE_DEPTH + 1
        assert reason(content(5, string(opening * deep + "1" + closing * deep))) is Reason.TOO_DEEP
    assert reason(content(5, string("[" * 40_000 + "]" * 40_000))) is Reason.MALFORMED_UPDATE
    flat = "[" + ",".join(["[]"] * 1000) + "]"
    decode(content(5, string(flat)))


VALUES = {
    "undefined": b"\x7f", "null": b"\x7e", "integer": b"\x7d\x8f\x01", "negative": b"\x7d\x45",
    "float32": b"\x7c" + struct.pack(">f", 1.5), "float64": b"\x7b" + struct.pack(">d", 1.1),
    "bigint": b"\x7a" + struct.pack(">q", -(2**63)), "false": b"\x79", "true": b"\x78", "string": b"\x77" + string("é"),
    "object": b"\x76\2" + string("a") + b"\x7e" + string("b") + b"\x76\0", "array": b"\x75\2\x75\0\x78",
    "bytes": b"\x74" + string(b"\xff"),
}  # fmt: skip


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_each_value_is_read_whole_and_not_cut(value: bytes) -> None:
    whole = content(8, b"\2" + value + value)
    assert decode(whole).ranges == {5: ((0, 2),)}
    Doc().apply_update(whole)
    for size in range(len(whole)):
        assert reason(whole[:size]) is Reason.MALFORMED_UPDATE


HUGE = number(2**32 - 1)

WRONG = {
    "empty": b"",
    "trailing": b"\0\0\0",
    "a section without structs": b"\1\0\5\0\0",
    "a writer twice": b"\2" + 2 * (b"\1\5\0" + item()) + b"\0",
    "deletions of a writer twice": b"\0\2\5\1\0\1\5\1\2\1",
    "deletions that overlap": b"\0\1\5\2\0\3\2\1",
    "deletions that fall": b"\0\1\5\2\5\1\0\1",
    "an empty deletion": b"\0\1\5\1\3\0",
    "a writer beyond 53 bits": update({LAST_WRITER + 1: (0, [item()])}),
    "a deleted writer beyond 53 bits": update({}, {LAST_WRITER + 1: [(0, 1)]}),
    "a writer of 80 bits": b"\1\1" + b"\xff" * 11 + b"\1\0" + item() + b"\0",
    "a length beyond 32 bits that yrs reads as 1": b"\1\1\5\0\4\1" + string("r") + number(2**32 + 1) + b"a\0",
    "a number longer than need be": b"\1\1\x85\x80\0\0" + item() + b"\0",
    "more sections than bytes": HUGE + b"\1\5\0" + item() + b"\0",
    "more structs than bytes": b"\1" + HUGE + b"\5\0" + item() + b"\0",
    "more values than bytes": content(8, HUGE + b"\x78"),
    "more array values than bytes": content(8, b"\1\x75" + HUGE),
    "more object values than bytes": content(8, b"\1\x76" + HUGE),
    "more deletions than bytes": b"\0\1\5" + HUGE,
    "a string beyond the end": content(4, HUGE + b"a"),
    "bytes beyond the end": content(3, HUGE + b"a"),
    "an empty string": content(4, string("")),
    "no values": content(8, b"\0"),
    "no deleted ids": content(1, b"\0"),
    "an empty gap": update({5: (0, [bytes([0, 0])])}),
    "a skip at the end": update({5: (0, [item(), bytes([10, 2])])}),
    "an empty skip": update({5: (0, [bytes([10, 0])])}),
    "an integer of 70 bits": content(8, b"\1\x7d" + b"\xff" * 9 + b"\1"),
    "no tag of a value": content(8, b"\1\x73"),
    "a string that is not UTF-8": content(4, string(b"\xff\xfe")),
    "a surrogate": content(4, string(b"\xed\xa0\x80")),
    "a key that is not UTF-8": content(8, b"\1\x76\1" + string(b"\xff") + b"\x7e"),
    "a root's name that is not UTF-8": update({5: (0, [b"\x08\1" + string(b"\xff") + b"\1\x78"])}),
    "a format's key that is not UTF-8": content(6, string(b"\xff") + string("1")),
    "an embed that is no JSON": content(5, string("{")),
    "an embed that is not a number": content(5, string("NaN")),
    "a format that is no JSON": content(6, string("bold") + string("tru")),
    "a weak link": content(7, b"\7\0\5\0"),
    "a type that is none": content(7, b"\x0b"),
    "a kind that is none": content(11, b"\1"),
    "a kind with a fifth bit": update({5: (0, [bytes([0x18]) + item()[1:]])}),
    "a gap with an origin": update({5: (0, [item(0, b"\1", origin=(9, 1))])}),
    "a skip with an origin": update({5: (0, [item(10, b"\1", origin=(9, 1))])}),
    "a parent that is neither": update({5: (0, [b"\x08\2" + string("r") + b"\1\x78"])}),
    "its own origin": update({5: (0, [item(origin=(5, 0))])}),
    "an origin to come": update({5: (0, [item(right_origin=(5, 1)), item(parent="r")])}),
    "its own parent": update({5: (0, [item(parent=(5, 0))])}),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_update_is_refused(data: bytes) -> None:
    assert reason(data) is Reason.MALFORMED_UPDATE


def test_the_empty_update_is_one() -> None:
    assert decode(b"\0\0").ranges == {}


def test_what_pycrdt_writes_is_read_kind_by_kind() -> None:
    doc: Doc[Any] = Doc(client_id=7)
    text = doc.get("t", type=Text)
    text += "héllo 😀"
    text.format(0, 3, {"bold": True})
    text.insert_embed(0, {"image": [1]})
    things = doc.get("m", type=Map)
    things["bin"] = b"\0\xff"
    things["value"] = {"a": [1, None]}
    things["nested"] = Map({"list": Array([1, Text("x")])})
    del things["nested"]
    read = decode(doc.get_update(), with_structs=True)
    assert {one.kind for one in read.structs} == set(Kind) - {Kind.TYPE, Kind.BINARY}  # bytes are values
    assert read.ranges == {7: ((0, state_vectors.decode(doc.get_state())[7]),)}


def test_pycrdt_writes_an_empty_struct_where_a_character_was_cut_and_that_is_refused() -> None:
    doc: Doc[Text] = Doc(client_id=7)
    text = doc.get("t", type=Text)
    text += "hé"
    text.format(0, 2, {"bold": True})  # offsets count bytes: this is within the second character
    assert reason(doc.get_update()) is Reason.MALFORMED_UPDATE
