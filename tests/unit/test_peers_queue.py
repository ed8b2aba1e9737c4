"""Frames and the queue behind them: what is joined comes apart again, bounds hold, and nothing waits for a timer."""

from __future__ import annotations

import asyncio

import pytest

from tallystick.peer.v1.peer_pb2 import Frame, RaftMessage, VoteReply
from tallystick_node.peers.backoff import BACKOFF_MAX_S, BACKOFF_MIN_S, Backoff
from tallystick_node.peers.frames import (
    MESSAGE_BYTES,
    BadFrameError,
    FrameTooLargeError,
    join_messages,
    split_frame,
)
from tallystick_node.peers.limits import FRAME_BYTES, JOIN_BYTES, QUEUE_BYTES
from tallystick_node.peers.send_queue import SendQueue
from tests.unit.peers_kit import numbered, sized


@pytest.mark.parametrize("size_bytes", [0, 100, 120, 127, 128, 16_383, 16_384, 3_000_000])
def test_joined_messages_are_a_frame(size_bytes: int) -> None:
    messages = [numbered(1), sized(2, size_bytes), numbered(3)]
    joined = join_messages([message.SerializeToString() for message in messages])
    assert joined == Frame(messages=messages).SerializeToString()
    assert list(split_frame(joined)) == messages


def test_the_largest_message_fits_into_the_largest_frame() -> None:
    assert len(join_messages([bytes(MESSAGE_BYTES)])) == FRAME_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff",
        Frame(messages=[RaftMessage(term=1)]).SerializeToString(),
        Frame(messages=[numbered(1), RaftMessage(term=1)]).SerializeToString(),
        # A body with a field number of a later version: 0x7a is field 15, length-delimited.
        join_messages([b"\x08\x01\x7a\x00"]),
    ],
    ids=["empty", "no frame", "no body", "one without a body", "unknown body"],
)
def test_a_bad_frame_is_refused_whole(data: bytes) -> None:
    with pytest.raises(BadFrameError):
        split_frame(data)


def test_a_frame_over_the_cap_is_refused_unparsed() -> None:
    with pytest.raises(FrameTooLargeError):
        split_frame(bytes(FRAME_BYTES + 1))


async def test_a_waiting_writer_has_the_message_in_the_next_turn_of_the_loop() -> None:
    queue = SendQueue()
    queue.open()
    taking = asyncio.create_task(queue.take_frame())
    await asyncio.sleep(0)
    queue.put(b"m")
    await asyncio.sleep(0)
    assert taking.done()
    assert taking.result() == (join_messages([b"m"]), 1)


async def test_what_waits_is_joined_up_to_a_bound_and_larger_messages_go_alone() -> None:
    queue = SendQueue()
    queue.open()
    half_bytes = JOIN_BYTES // 2
    # The first four would fit but for what each costs in a frame.
    for size_bytes in [10, 20, half_bytes, half_bytes - 40, 5, 9 * JOIN_BYTES, 6]:
        assert queue.put(bytes(size_bytes))
    frames = [await queue.take_frame() for _ in range(4)]
    assert [count for _, count in frames] == [3, 2, 1, 1]
    assert [len(frame) <= JOIN_BYTES for frame, _ in frames] == [True, True, False, True]
    assert queue.put(bytes(QUEUE_BYTES)), "what was taken makes room"


@pytest.mark.parametrize(("max_bytes", "max_messages"), [(10, 1000), (1000, 10)])
async def test_overflow_breaks_the_queue_until_it_is_opened_again(max_bytes: int, max_messages: int) -> None:
    queue = SendQueue(max_bytes, max_messages)
    assert not queue.put(b"x"), "closed at first"
    queue.open()
    assert all(queue.put(b"x") for _ in range(10))
    broken = asyncio.create_task(queue.wait_broken())
    await asyncio.sleep(0)
    assert not broken.done()
    assert not queue.put(b"x")
    await broken
    assert not queue.is_open
    assert not queue.put(b"y")
    queue.open()
    assert queue.put(b"z")
    assert await queue.take_frame() == (join_messages([b"z"]), 1)


async def test_a_queue_that_is_filled_and_closed_at_once_gives_nothing() -> None:
    queue = SendQueue()
    queue.open()
    taking = asyncio.create_task(queue.take_frame())
    await asyncio.sleep(0)
    queue.put(b"x")
    queue.close()
    await asyncio.sleep(0)
    assert not taking.done()
    queue.open()
    queue.put(b"y")
    assert await taking == (join_messages([b"y"]), 1)


def test_the_wait_grows_to_its_bound_and_varies() -> None:
    backoff = Backoff()
    waits_s = [backoff.next_s() for _ in range(20)]
    assert waits_s[0] <= BACKOFF_MIN_S
    assert all(BACKOFF_MAX_S / 2 <= wait_s <= BACKOFF_MAX_S for wait_s in waits_s[6:])
    assert len(set(waits_s[6:])) > 1
    backoff.reset()
    assert backoff.next_s() <= BACKOFF_MIN_S


def test_a_body_without_fields_is_a_body() -> None:
    message = RaftMessage(term=4, vote_reply=VoteReply())
    assert list(split_frame(join_messages([message.SerializeToString()]))) == [message]
