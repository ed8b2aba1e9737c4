"""Texts: places in code points, whatever pycrdt counts."""

from __future__ import annotations

import random
from typing import cast

import pycrdt
import pytest

from tallystick import Invalid, Reason
from tallystick.contexts.views.text_diff import text_edits
from tests.unit.contexts.views.kit import Peer, exchange, pair

LETTERS = "ab é😀\n漢\u0301"


def test_places_are_code_points() -> None:
    for place in range(6):
        here, there = pair()
        here.views.text("t").append("aé😀b漢")
        here.views.text("t").insert(place, "X")
        exchange(here, there)
        expected = "aé😀b漢"[:place] + "X" + "aé😀b漢"[place:]
        assert str(here.views.text("t")) == str(there.views.text("t")) == expected
        assert len(here.views.text("t")) == 6


@pytest.mark.parametrize("letters", ["abc ", LETTERS], ids=["ascii", "any"])
def test_edits_are_those_of_a_str(letters: str) -> None:
    chance = random.Random(7)
    here, there = pair()
    text, model = here.views.text("t"), ""
    for _ in range(300):
        start, stop = sorted(chance.randint(0, len(model)) for _ in range(2))
        new = "".join(chance.choices(letters, k=chance.randint(0, 4)))
        if chance.random() < 0.3:
            stop = start
        if chance.random() < 0.1:
            new += "é"
        text.replace(start, stop, new)
        model = model[:start] + new + model[stop:]
        assert len(text) == len(model)
    assert str(text) == model
    exchange(here, there)
    assert str(there.views.text("t")) == model


def test_places_are_those_of_a_slice() -> None:
    text = Peer().views.text("t")
    text.insert(99, "abc")
    text.insert(-1, "X")
    text.insert(-99, "Y")
    assert str(text) == "YabXc"
    text.delete(-2, 99)
    assert str(text) == "Yab"
    text.delete(2, 1)
    assert (str(text), text[0], text[-2:], "ab" in text, bool(text)) == ("Yab", "Y", "ab", True, True)
    text.clear()
    assert (str(text), bool(text)) == ("", False)


def test_text_stays_right_when_another_adds_what_is_not_ascii() -> None:
    here, there = pair()
    text = here.views.text("t")
    text.append("abcdef")
    exchange(here, there)
    there.views.text("t").insert(3, "é😀")
    exchange(here, there)
    text.insert(5, "X")
    assert str(text) == "abcé😀Xdef"
    text.replace(3, 5, "")
    text.insert(4, "Y")
    assert str(text) == "abcXYdef"


def test_text_stays_right_when_it_is_edited_past_the_view() -> None:
    peer = Peer()
    text = peer.views.text("t")
    text.append("abc")
    raw = cast("pycrdt.Text", peer.doc.get("t", type=pycrdt.Text))
    del raw[0:2]
    raw.insert(0, "é")  # as many bytes as before
    text.insert(1, "X")
    assert str(text) == "éXc"


def test_text_with_embedded_things() -> None:
    for letters in ("abcd", "éb😀d"):
        for place in range(5):
            peer = Peer()
            raw = pycrdt.Text(letters)
            peer.doc["t"] = raw
            raw.insert_embed(len(letters[:2].encode()), {"image": 1})
            text = peer.views.text("t")
            assert len(text) == 4
            text.insert(place, "X")
            assert str(text) == letters[:place] + "X" + letters[place:]


def test_text_keeps_what_both_inserted_and_deletes_only_what_was_seen() -> None:
    here, there = pair()
    here.views.text("t").append("one two three")
    exchange(here, there)
    here.views.text("t").delete(4, 8)
    there.views.text("t").insert(5, "(new)")
    exchange(here, there)
    assert str(here.views.text("t")) == str(there.views.text("t")) == "one (new)three"


@pytest.mark.parametrize("value", ["\ud800", "x" * (512 * 1024 + 1), 5, b"x", None])
def test_text_refuses_what_is_no_text(value: str) -> None:
    peer = Peer()
    text = peer.views.text("t")
    for step in (text.append, text.set):
        with pytest.raises(Invalid) as refused:
            step(value)
        assert refused.value.reason in (Reason.INVALID_VALUE, Reason.TOO_LARGE)
    assert not peer.updates


def test_formatting() -> None:
    here, there = pair()
    text = here.views.text("t")
    text.append("é bold plain")
    text.format(2, 6, {"bold": True, "size": 2})
    text.format(0, 0, {"bold": True})
    text.format(4, 6, {"size": None})
    exchange(here, there)
    assert there.views.text("t").runs() == [
        ("é ", {}),
        ("bo", {"bold": True, "size": 2}),
        ("ld", {"bold": True}),
        (" plain", {}),
    ]
    with pytest.raises(Invalid):
        text.format(0, 1, {"bold": 2**60})


def test_set_edits_only_what_differs() -> None:
    here, there = pair()
    here.views.text("t").append("the quick brown fox")
    exchange(here, there)
    edits = len(here.updates)
    here.views.text("t").set("the slow brown fox jumps")
    there.views.text("t").insert(16, "red ")
    exchange(here, there)
    assert str(here.views.text("t")) == str(there.views.text("t")) == "the slow brown red fox jumps"
    assert len(here.updates) - edits == 2  # one of them is the other's
    here.views.text("t").set(str(here.views.text("t")))
    assert len(here.updates) - edits == 2


def test_edits_between_two_texts() -> None:
    chance = random.Random(3)
    for size in (0, 1, 5, 30):
        for _ in range(60):
            before = "".join(chance.choices("ab\né", k=chance.randint(0, size)))
            after = "".join(chance.choices("ab\né", k=chance.randint(0, size)))
            text = before
            for edit in text_edits(before, after):
                text = text[: edit.start] + edit.text + text[edit.stop :]
            assert text == after


def test_edits_between_large_texts_are_bounded_in_work() -> None:
    chance = random.Random(5)
    lines = ["".join(chance.choices("abcdef ", k=40)) + "\n" for _ in range(900)]
    changed = [line if chance.random() < 0.9 else line.upper() for line in lines]
    edits = text_edits("".join(lines), "".join(changed))
    assert 20 < len(edits) < 200
    whole = text_edits("x" + "ab" * 100_000 + "y", "x" + "ba" * 100_001 + "y")
    assert len(whole) <= 2
