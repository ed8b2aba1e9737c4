"""A log made by hand, and files of parts of it, for tests of archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tallystick.v1 import state_pb2
from tallystick_node.core.chain import NO_HASH, hash_mutation
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.core.values import JsonObject, canonical_json, digest_json
from tallystick_node.retention.archive_file import ArchivePart, packed

ANN = Target("demo", "ann", "main")


class Log:
    """Mutations that count `/n` up to their seq, and a checkpoint at every `every`-th."""

    def __init__(
        self, count: int, target: Target = ANN, *, actor: str = "tester", every: int = 5, pad: str = ""
    ) -> None:
        self.target = target
        self.pad = pad
        self.hashes = [NO_HASH]
        self.mutations: list[MutationDecided] = []
        self.checkpoints: list[CheckpointTaken] = []
        for seq in range(1, count + 1):
            operations = [_set("/n", b"%d" % seq)]
            if seq == 1 and pad:
                operations.append(_set("/pad", b'"%s"' % pad.encode()))
            raw = state_pb2.Mutation(operations=operations).SerializeToString()
            hash_ = hash_mutation(self.hashes[-1], seq, 1000 + seq, actor.encode(), raw)
            self.hashes.append(hash_)
            self.mutations.append(MutationDecided(seq, target, seq, 1000 + seq, actor, hash_, raw))
            if seq % every == 0:
                digest = digest_json(self.state(seq))
                taken = (seq, target, seq, 1000 + seq, actor, hash_, f"at-{seq}", 0, b'{"x":1}', b"", digest)
                self.checkpoints.append(CheckpointTaken(*taken))

    def state(self, seq: int) -> JsonObject:
        """The state after a seq."""
        if seq == 0:
            return {}
        return {"n": seq, **({"pad": self.pad} if self.pad else {})}

    def part(self, after: int, last: int) -> ArchivePart:
        """The mutations behind a seq, up to one."""
        return ArchivePart(
            self.target,
            after,
            self.hashes[after],
            canonical_json(self.state(after)),
            self.mutations[after:last],
            [taken for taken in self.checkpoints if after <= taken.seq <= last],
        )


def _set(path: str, value: bytes) -> state_pb2.Operation:
    return state_pb2.Operation(kind=state_pb2.OPERATION_KIND_SET, path=path, value=value)


def written(folder: Path, *parts: ArchivePart) -> Sequence[Path]:
    """The files of these parts."""
    files = []
    for part in parts:
        file = folder / part.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(packed(part))
        files.append(file)
    return files
