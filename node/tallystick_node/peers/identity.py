"""Who dials and who answers: the metadata of a call, and the names in certificates.

Rules of this file:
- A node is believed to be who its metadata say only if its certificate says so too (when TLS is on).
- `data_id` tells a node's data folders apart. Another one, though the node was never removed, means that it lost its
  data: it does not know what it voted and acknowledged. A node of version 1.0 does not say it.
- Nodes of one major peer version understand each other; a minor one only adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PEER_VERSION: Final = "1.1"
"""Version of what nodes say to each other, as major.minor."""

_CLUSTER_ID: Final = "tallystick-cluster-id"
NODE_ID_KEY: Final = "tallystick-node-id"
_INCARNATION: Final = "tallystick-incarnation"
_DATA_ID: Final = "tallystick-data-id"
_PEER_VERSION: Final = "tallystick-peer-version"
_INCARNATION_MAX: Final = 2**64 - 1
_DATA_ID_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class LocalNode:
    """This node, as others see it. `incarnation` is higher at each start on the data folder, which `data_id` names."""

    cluster_id: str
    node_id: str
    incarnation: int
    data_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who says to be dialling. `data_id` is empty if it does not say."""

    cluster_id: str
    node_id: str
    incarnation: int
    version: str
    data_id: str = ""

    @property
    def speaks_our_version(self) -> bool:
        """Whether the major versions are equal."""
        return self.version.partition(".")[0] == PEER_VERSION.partition(".")[0]


def to_metadata(local: LocalNode) -> tuple[tuple[str, str], ...]:
    """What the dialler says of itself."""
    return (
        (_CLUSTER_ID, local.cluster_id),
        (NODE_ID_KEY, local.node_id),
        (_INCARNATION, str(local.incarnation)),
        (_DATA_ID, local.data_id),
        (_PEER_VERSION, PEER_VERSION),
    )


def from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
    """Who is dialling.

    Raises:
        ValueError: a key is missing or is not what it should be; the text says which.
    """
    given = {key: value for key, value in metadata if isinstance(value, str)}
    for key in (_CLUSTER_ID, NODE_ID_KEY, _INCARNATION, _PEER_VERSION):
        if not given.get(key):
            raise ValueError(f"{key} is missing")
    digits = given[_INCARNATION]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(_INCARNATION_MAX))):
        raise ValueError(f"{_INCARNATION} is not a number")
    data_id = given.get(_DATA_ID, "")
    if len(data_id) > _DATA_ID_CHARS:
        raise ValueError(f"{_DATA_ID} is longer than {_DATA_ID_CHARS} characters")
    return Caller(given[_CLUSTER_ID], given[NODE_ID_KEY], int(digits), given[_PEER_VERSION], data_id)


def certificate_name(node_id: str) -> str:
    """The DNS name that a node's certificate must carry."""
    return f"{node_id}.node.tallystick"
