"""Frames on the wire: several Raft messages in one gRPC message.

Rules of this file:
- A frame has at least one message, each message has a body that we know, and a frame is never larger than the cap.
- A frame is checked whole before any message of it is handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from tallystick.peer.v1.peer_pb2 import Frame, RaftMessage
from tallystick_node.peers.limits import FRAME_BYTES

MESSAGES_FIELD_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `Frame.messages`."""

_VARINT_BYTES: Final = 4
ENVELOPE_BYTES: Final = len(MESSAGES_FIELD_TAG) + _VARINT_BYTES
"""What a message costs in a frame beside itself, at most: 4 bytes of length reach to 256 MiB."""

MESSAGE_BYTES: Final = FRAME_BYTES - ENVELOPE_BYTES
"""The largest message: it fits into a frame alone."""


class BadFrameError(Exception):
    """The peer broke the rules of a frame."""


class FrameTooLargeError(BadFrameError):
    """The frame is over the cap."""


def join_messages(messages: Sequence[bytes]) -> bytes:
    """The serialized `Frame` of serialized messages.

    Written by hand because a message is then serialized once, when its size is counted, and not again with the frame.
    """
    parts: list[bytes] = []
    for message in messages:
        parts += (MESSAGES_FIELD_TAG, _varint(len(message)), message)
    return b"".join(parts)


def split_frame(data: bytes) -> Sequence[RaftMessage]:
    """The messages of a serialized frame.

    Raises:
        FrameTooLargeError: it is over the cap.
        BadFrameError: it is no frame, is empty, or holds a message without a body that we know.
    """
    if len(data) > FRAME_BYTES:
        raise FrameTooLargeError(f"a frame of {len(data)} bytes is over the cap of {FRAME_BYTES}")
    try:
        messages = Frame.FromString(data).messages
    except DecodeError as error:
        raise BadFrameError("this is no frame") from error
    if not messages:
        raise BadFrameError("a frame without a message")
    if any(message.WhichOneof("body") is None for message in messages):
        raise BadFrameError("a message without a body that this version knows")
    return messages


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
