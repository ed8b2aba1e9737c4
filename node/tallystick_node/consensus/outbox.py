"""What pysyncobj sends, encoded, until the replica takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import codec


class Sender(Protocol):
    """What the outbox asks of the kernel."""

    @property
    def term(self) -> int:
        """The current term."""

    @property
    def slowest_index(self) -> int:
        """Every member has the log on disk up to here."""

    @property
    def round(self) -> int:
        """Of the append_entries that go out."""

    @property
    def answer_round(self) -> int:
        """Of the append_entries that is being answered."""

    @property
    def is_handed_over(self) -> bool:
        """Whether the leader asked for the election of this term."""

    @property
    def log_begins_at(self) -> int:
        """The entry before the first that can be sent."""

    def not_proposed(self) -> None:
        """A proposal did not get into the log."""

    def first_of_term(self, index: int) -> int:
        """Where a peer should look next for the place where the logs part."""

    def sent_entries(self, node: Node, message: RaftMessage) -> None:
        """An append_entries went out."""


class Outbox:
    """In the place of pysyncobj's transport: keeps what a tick sends, encoded, for the replica to take.

    Of several messages to one peer in one step, an append_entries without entries says nothing that the next
    append_entries does not say, and a success reply nothing that the next one does not: the earlier one goes.
    """

    ready = True

    def __init__(self, kernel: Sender) -> None:
        self._kernel = kernel
        self.messages: list[tuple[str, RaftMessage]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("setOn") or name == "destroy":  # callbacks are not needed: the kernel is called directly
            return lambda *_: None
        raise AttributeError(name)

    def send(self, node: Node, message: codec.Message) -> None:
        if message["type"] == "apply_command":
            self._kernel.not_proposed()
            return
        if message["type"] == "next_node_idx" and message["reset"]:
            message["next_node_idx"] = self._kernel.first_of_term(message["next_node_idx"])
        encoded = codec.encode(message, self._kernel.term)
        self._stamp(encoded)
        self._drop_superseded(node.id, encoded)
        self.messages.append((node.id, encoded))
        if encoded.HasField("append_entries"):
            self._kernel.sent_entries(node, encoded)

    def _stamp(self, message: RaftMessage) -> None:
        """Adds what pysyncobj knows nothing of."""
        if message.HasField("append_entries"):
            message.append_entries.slowest_index = self._kernel.slowest_index
            message.append_entries.round = self._kernel.round
            if message.append_entries.needs_snapshot:
                message.append_entries.prev_index = self._kernel.log_begins_at
        elif message.HasField("append_reply"):
            message.append_reply.round = self._kernel.answer_round
        elif message.HasField("vote_request"):
            message.vote_request.handed_over = self._kernel.is_handed_over

    def _drop_superseded(self, peer_id: str, message: RaftMessage) -> None:
        for place in range(len(self.messages) - 1, -1, -1):
            earlier_peer, earlier = self.messages[place]
            if earlier_peer != peer_id:
                continue
            if earlier.term == message.term and (_is_bare(earlier, message) or _is_older_reply(earlier, message)):
                del self.messages[place]
            return


def _is_bare(earlier: RaftMessage, message: RaftMessage) -> bool:
    bare = earlier.HasField("append_entries") and not earlier.append_entries.entries
    return bare and message.HasField("append_entries")


def _is_older_reply(earlier: RaftMessage, message: RaftMessage) -> bool:
    if not (earlier.HasField("append_reply") and message.HasField("append_reply")):
        return False
    old, new = earlier.append_reply, message.append_reply
    return new.success and new.next_index >= old.next_index
