"""Who may open a link: the checks of an incoming call, in order, each with its sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar, cast

import grpc

from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import (
    NODE_ID_KEY,
    PEER_VERSION,
    Caller,
    LocalNode,
    certificate_name,
    from_metadata,
)
from tallystick_node.peers.limits import REMOVED_KEPT
from tallystick_node.peers.refusals import Refused

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")
_SAN_KEY = "x509_subject_alternative_name"


class Admission:
    """The rules of one node. `require_certificate` is whether peers talk over TLS."""

    def __init__(self, local: LocalNode, member_ids: Collection[str], *, require_certificate: bool) -> None:
        self._local = local
        self._member_ids = frozenset(member_ids)
        self._removed: dict[str, None] = {}  # oldest first
        self._require_certificate = require_certificate

    def update(self, member_ids: Collection[str]) -> None:
        """The members are these now; who was one and is none is remembered as removed."""
        removed = self._member_ids.difference(member_ids)
        self._member_ids = frozenset(member_ids)
        for node_id in self._member_ids:
            self._removed.pop(node_id, None)
        self._removed.update(dict.fromkeys(sorted(removed)))
        while len(self._removed) > REMOVED_KEPT:
            del self._removed[next(iter(self._removed))]

    def check_member(self, node_id: str) -> Refused | None:
        """Why a node may not go on; None: it is a member."""
        if node_id in self._member_ids:
            return None
        if node_id in self._removed:
            return Refused(Refusal.REMOVED, f"Node {node_id} is no longer a member of this cluster.")
        return Refused(Refusal.UNKNOWN_NODE, f"{node_id} is no member that {self._local.node_id} knows.")

    def check(self, context: grpc.aio.ServicerContext[QuestionT, AnswerT]) -> Caller | Refused:
        """The caller, or why it is refused."""
        try:
            caller = from_metadata(_metadata(context))
        except ValueError as error:
            return Refused(Refusal.BAD_METADATA, f"The call does not say who dials: {error}.")
        refused = self._check_identity(caller)
        if refused is None and self._require_certificate:
            refused = _check_certificate(caller, context.auth_context())
        return refused or caller

    def _check_identity(self, caller: Caller) -> Refused | None:
        local = self._local
        if not caller.speaks_our_version:
            return Refused(
                Refusal.OTHER_VERSION,
                f"Node {caller.node_id} speaks peer version {caller.version}, this one {PEER_VERSION}.",
            )
        if caller.cluster_id != local.cluster_id:
            return Refused(
                Refusal.OTHER_CLUSTER, f"This node is of cluster {local.cluster_id}, not of {caller.cluster_id}."
            )
        if caller.node_id == local.node_id:
            return Refused(
                Refusal.OWN_NODE_ID,
                f"This node is {local.node_id} itself: two nodes have one id, or an endpoint is wrong.",
            )
        return self.check_member(caller.node_id)


def name_given(context: grpc.aio.ServicerContext[QuestionT, AnswerT]) -> str:
    """Which node a caller says it is, for the log; nothing of it is checked."""
    return str(dict(_metadata(context)).get(NODE_ID_KEY, "?"))


def _metadata(context: grpc.aio.ServicerContext[QuestionT, AnswerT]) -> Sequence[tuple[str, str | bytes]]:
    # gRPC's metadata are pairs; its stubs call them a mapping.
    return cast("Sequence[tuple[str, str | bytes]]", context.invocation_metadata() or ())


def _check_certificate(caller: Caller, auth_context: Mapping[str, Iterable[bytes]]) -> Refused | None:
    name = certificate_name(caller.node_id)
    if name.encode() in auth_context.get(_SAN_KEY, ()):
        return None
    return Refused(Refusal.WRONG_CERTIFICATE, f"The certificate of node {caller.node_id} does not name {name}.")
