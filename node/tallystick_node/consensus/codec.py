"""pysyncobj's messages, which are dicts, to and from peer/v1, stamped with the sender's term.

Rules of this file:
- What pysyncobj may send that we never allow (pickled pieces, dumps, commands) has no field on the wire: it cannot be
  encoded, and nothing that arrives can become it.
- A snapshot message never carries a commit index (fault 2 of pysyncobj).
"""

from __future__ import annotations

from typing import Any, Final

from tallystick.peer.v1.peer_pb2 import AppendEntries, AppendReply, LogEntry, RaftMessage, VoteReply, VoteRequest

Message = dict[str, Any]
"""A message of pysyncobj. Its values are ints, bools, strings and lists of (command, index, term)."""


class UnknownMessageError(Exception):
    """pysyncobj wants to send what we do not carry."""


def _append_entries(message: Message) -> AppendEntries:
    if "prevLogIdx" not in message:
        return AppendEntries(needs_snapshot=True)
    if "transmission" in message:
        raise UnknownMessageError("an entry was cut in pieces: it is larger than admitted")
    if message["prevLogIdx"] is None:
        raise UnknownMessageError("a peer is to be sent what comes behind the end of the log")
    return AppendEntries(
        prev_index=message["prevLogIdx"],
        prev_term=message["prevLogTerm"],
        commit_index=message["commit_index"],
        entries=[LogEntry(index=index, term=term, data=data) for data, index, term in message["entries"]],
    )


def encode(message: Message, term: int) -> RaftMessage:
    """The wire form of a message of pysyncobj.

    Raises:
        UnknownMessageError: this kind of message is never sent.
    """
    kind = message["type"]
    if kind == "append_entries":
        return RaftMessage(term=message["term"], append_entries=_append_entries(message))
    if kind == "next_node_idx":
        reply = AppendReply(next_index=message["next_node_idx"], reset=message["reset"], success=message["success"])
        return RaftMessage(term=term, append_reply=reply)
    if kind == "request_vote":
        request = VoteRequest(last_index=message["last_log_index"], last_term=message["last_log_term"])
        return RaftMessage(term=message["term"], vote_request=request)
    if kind == "response_vote":
        return RaftMessage(term=message["term"], vote_reply=VoteReply())
    raise UnknownMessageError(str(kind))


def _decode_append_entries(message: RaftMessage) -> Message:
    body = message.append_entries
    decoded: Message = {"type": "append_entries", "term": message.term, "commit_index": body.commit_index}
    if body.needs_snapshot:
        return {**decoded, "commit_index": 0}
    return {
        **decoded,
        "prevLogIdx": body.prev_index,
        "prevLogTerm": body.prev_term,
        "entries": [(entry.data, entry.index, entry.term) for entry in body.entries],
    }


def _decode_append_reply(message: RaftMessage) -> Message:
    body = message.append_reply
    return {"type": "next_node_idx", "next_node_idx": body.next_index, "reset": body.reset, "success": body.success}


def _decode_vote_request(message: RaftMessage) -> Message:
    body = message.vote_request
    return {
        "type": "request_vote",
        "term": message.term,
        "last_log_index": body.last_index,
        "last_log_term": body.last_term,
    }


def _decode_vote_reply(message: RaftMessage) -> Message:
    return {"type": "response_vote", "term": message.term}


_DECODERS: Final = {
    "append_entries": _decode_append_entries,
    "append_reply": _decode_append_reply,
    "vote_request": _decode_vote_request,
    "vote_reply": _decode_vote_reply,
}


def decode(message: RaftMessage) -> Message:
    """What pysyncobj is given for a wire message that is its own (one of `_DECODERS`)."""
    return _DECODERS[message.WhichOneof("body") or ""](message)


def without_known(message: RaftMessage, first_index: int, first_term: int) -> RaftMessage:
    """An append_entries without what lies before this member's log: that is decided, and every member has it.

    A leader's journal may begin earlier than this one's. pysyncobj would not find `prev_index` here, and answer that it
    lacks everything behind its own last entry.
    """
    body = message.append_entries
    if body.needs_snapshot or body.prev_index >= first_index:
        return message
    rest = AppendEntries(
        prev_index=first_index,
        prev_term=first_term,
        commit_index=body.commit_index,
        entries=[entry for entry in body.entries if entry.index > first_index],
    )
    return RaftMessage(term=message.term, append_entries=rest)
