"""Editors of one shared document in a workload, and what must hold of it in the end.

Rules of this file:
- What is added is added once, under a name of its own, so that it is known again: nothing may be lost, doubled, made
  up, or come back once its end was acknowledged.
- An edit counts as acknowledged from when a flush that began after it returned; what was on its way when its replica
  was closed is undecided.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick import Client, Cursor
from tallystick._json import JSON
from tallystick.contexts.context import Ack, Context
from tallystick.errors import NotFound, Refused, Unavailable, Undecided
from tallystick_node.sim.cluster import SimCluster

NAME: Final = "shared"
EDITORS: Final = 2
PAUSE_S: Final = 0.3
"""Between two steps of an editor, on average."""
CALL_S: Final = 4.0
FLUSH_S: Final = 2.0
EQUAL_S: Final = 5.0
"""Within which the nodes of a healed cluster have equal documents."""
_LOOK_S: Final = 0.1
_VERSIONS: Final = 0.03
"""How often an editor names a version, of its steps."""
_MAP, _LIST, _TEXT, _SET, _COUNTER = "map", "list", "text", "set", "counter"
_PLAIN: Final = (_MAP, _LIST, _TEXT)
"""Kinds that a node shows as a view does: it knows nothing of the others."""


class Edit(NamedTuple):
    """One edit: an element added to a root of this kind, or taken from it."""

    kind: str
    element: str
    is_added: bool = True


@dataclass
class EditRecords:
    """What was edited, and told of it.

    Attributes:
        made: all edits.
        local, quorum: those acknowledged as on a node's disk, and on those of a majority.
        disk: those acknowledged as on the disk of who made them.
        versions: by name, what a version must hold.
        wrong: answers that were wrong by themselves.
    """

    made: dict[Edit, None] = field(default_factory=dict)
    local: dict[Edit, None] = field(default_factory=dict)
    quorum: dict[Edit, None] = field(default_factory=dict)
    disk: dict[Edit, None] = field(default_factory=dict)
    versions: dict[str, list[Edit]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


Edits = defaultdict[bytes, EditRecords]
"""By guid: the document of the name may end, and another begin."""


class Editor:
    """One of those who edit; `run` it.

    Args:
        is_roaming: its replica is on a disk of its own. It writes no text: what it makes again, epochs later, may
            stand elsewhere, and a word in the midst of another is none that is known again.
    """

    def __init__(
        self,
        cluster: SimCluster,
        edits: Edits,
        name: str,
        rng: random.Random,
        *,
        is_roaming: bool = False,
    ) -> None:
        self._cluster = cluster
        self._edits = edits
        self._is_roaming = is_roaming
        self._acks: Sequence[Ack] = ("disk", "disk", "quorum") if is_roaming else ("local", "quorum")
        self.records = EditRecords()
        self._name = name
        self._rng = rng
        self._count = 0
        self._pending: list[Edit] = []
        """Those of the replica at hand, in order, that no majority has acknowledged."""
        self._cursor: Cursor | None = None

    async def run(self, client: Client, ends_s: float) -> None:
        """Edits until then, with one replica after another."""
        while self._cluster.now_s < ends_s:
            try:
                async with client.context(NAME, create=False, timeout_s=CALL_S) as context:
                    await self.edit(context, min(ends_s, self._cluster.now_s + self._rng.uniform(1.0, 15.0)))
            except (NotFound, Unavailable):
                await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            self._pending.clear()

    def keep_pending(self) -> None:
        """The replica is gone, and its store is there: what was on its way to that is undecided."""
        self._pending = [edit for edit in self._pending if edit in self.records.disk]

    async def edit(self, context: Context, ends_s: float) -> None:
        """Edits a replica until then.

        Raises:
            NotFound: the document was deleted.
            Unavailable: there is no writer id to be had.
        """
        if self.records is not self._edits[context.guid]:
            self.records = self._edits[context.guid]
            self._pending.clear()  # of a document that was deleted
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            action: Callable[[Context], None] = self._rng.choices(
                (self._put, self._append, self._write, self._add, self._count_up, self._take),
                (4, 3, 0 if self._is_roaming else 3, 2, 2, 3),
            )[0]
            made = len(self._pending)
            try:
                with context.transaction(cause=self._name):
                    for _ in range(self._rng.choice((1, 1, 1, 5))):
                        action(context)
            except Unavailable:  # no writer id is to be had: it was taken back
                del self._pending[made:]
                raise
            if self._rng.random() < 0.4:
                await self._flush(context, self._rng.choice(self._acks))
            if self._is_roaming:
                continue
            if self._cursor is not None and self._cursor.guid == context.guid and self._rng.random() < 0.1:
                await self._read_back(self._cursor)
            if self._rng.random() < _VERSIONS:
                await self._save_version(context)

    async def _flush(self, context: Context, level: Ack) -> None:
        edits = list(self._pending)
        try:
            cursor = await context.flush(ack=level, timeout_s=FLUSH_S)
        except Unavailable:
            return
        except NotFound:  # it was deleted
            raise
        except Refused as error:
            self.records.wrong.append(f"an edit of {self._name} was refused: {error}")
            return
        if level == "disk":
            self.records.disk.update(dict.fromkeys(edits))
            return
        self.records.local.update(dict.fromkeys(edits))
        if level == "quorum":
            self.records.quorum.update(dict.fromkeys(edits))
            del self._pending[: len(edits)]
            self._cursor = cursor

    async def _save_version(self, context: Context) -> None:
        name, own = f"{self._name}-{self._count}", self._own()
        try:
            await context.save_version(name, timeout_s=FLUSH_S)
        except (Unavailable, Undecided, Refused):  # a second try may find the first, of another state
            return
        self.records.versions[name] = own

    def _own(self) -> list[Edit]:
        """Its own edits that were acknowledged."""
        return [edit for edit in self.records.quorum if edit.element.startswith(self._name)]

    async def _read_back(self, cursor: Cursor) -> None:
        """A replica of any node that is as far as the cursor has what this one was acknowledged."""
        own, records = self._own(), self.records
        node_id = self._rng.choice(self._cluster.node_ids)
        try:
            async with (
                self._cluster.connect("demo", nodes=[node_id], timeout_s=CALL_S, actor=self._name) as client,
                client.context(NAME, create=False, after=cursor) as context,
            ):
                seen = elements(context.to_json())
                if context.guid != cursor.guid:
                    return
        except (NotFound, Unavailable):
            return
        for edit in own:
            if _must_be_there(edit, records) and not seen[edit]:
                records.wrong.append(f"{edit} was acknowledged to who does not see it at {node_id}")

    # Edits.

    def _put(self, context: Context) -> None:
        edit = self._made(Edit(_MAP, self._element()))
        context.map(_MAP)[edit.element] = self._count

    def _append(self, context: Context) -> None:
        context.list(_LIST).append(self._made(Edit(_LIST, self._element())).element)

    def _write(self, context: Context) -> None:
        edit = self._made(Edit(_TEXT, self._element()))
        context.text(_TEXT).append(f"{edit.element};")

    def _add(self, context: Context) -> None:
        context.set(_SET).add(self._made(Edit(_SET, self._element())).element)

    def _count_up(self, context: Context) -> None:
        self._made(Edit(_COUNTER, self._element()))
        context.counter(_COUNTER).add(1)

    def _take(self, context: Context) -> None:
        own = [key for key in context.map(_MAP) if key.startswith(f"{self._name}.")]
        if own:
            element = self._rng.choice(own)
            self._made(Edit(_MAP, element, is_added=False))
            del context.map(_MAP)[element]

    def _made(self, edit: Edit) -> Edit:
        self.records.made[edit] = None
        self._pending.append(edit)
        return edit

    def _element(self) -> str:
        self._count += 1
        return f"{self._name}.{self._count}"


def elements(content: dict[str, JSON]) -> Counter[Edit]:
    """How often each element is in a document."""
    found: Counter[Edit] = Counter()
    for kind, root in content.items():
        match kind, root:
            case "map", dict():
                found.update(Edit(kind, key) for key in root)
            case (("list" | "set"), list()):
                found.update(Edit(kind, str(element)) for element in root)
            case "text", str():
                found.update(Edit(kind, token) for token in root.split(";") if token)
    return found


async def judge(cluster: SimCluster, records: EditRecords, living: Collection[str]) -> list[str]:
    """What does not hold, once everything is healed.

    Args:
        living: nodes that can still be asked; edits that only another had, or one that lost documents, may be lost.
    """
    contents = await _equal(cluster, living)
    if contents is None:
        return [
            f"the documents of the nodes differ {EQUAL_S} s after all was healed: {await _differing(cluster, living)}"
        ]
    has_lost = any(node.machine.has_lost_documents for node in cluster.nodes.values())
    is_whole = len(living) == len(cluster.node_ids) and not has_lost
    complaints = list(_of_content(contents, records, records.local if is_whole else records.quorum))
    return [*records.wrong, *complaints, *await _of_versions(cluster, records, living)]


async def _of_versions(cluster: SimCluster, records: EditRecords, living: Collection[str]) -> list[str]:
    """Versions are the same at every node, and hold what was acknowledged before."""
    complaints: list[str] = []
    shown: dict[str, JSON] = {}
    for node_id in living:
        async with cluster.connect("demo", nodes=[node_id], actor="judge") as client:
            for name, own in records.versions.items():
                content = await client.stored_context(NAME).show(name)
                if shown.setdefault(name, content) != content:
                    complaints.append(f"version {name} is another at {node_id}")
                seen = elements(content) if isinstance(content, dict) else Counter[Edit]()
                complaints += [
                    f"{edit} was acknowledged and is not in version {name}"
                    for edit in own
                    if edit.kind in _PLAIN and _must_be_there(edit, records) and not seen[edit]
                ]
    return complaints


async def _equal(cluster: SimCluster, living: Collection[str]) -> dict[str, JSON] | None:
    """The document, as soon as all nodes have the same."""
    limit_s = cluster.now_s + EQUAL_S
    while True:
        contents = [await _content(cluster, node_id) for node_id in living]
        if all(content == contents[0] for content in contents):
            return contents[0]
        if cluster.now_s > limit_s:
            return None
        await asyncio.sleep(_LOOK_S)


async def _differing(cluster: SimCluster, living: Collection[str]) -> str:
    """Which elements not all nodes have."""
    found = {node_id: elements(await _content(cluster, node_id)) for node_id in living}
    shared = set.intersection(*(set(each) for each in found.values()))
    return "; ".join(
        f"{node_id} alone has {sorted(map(str, each.keys() - shared))[:5]}" for node_id, each in found.items()
    )


async def _content(cluster: SimCluster, node_id: str) -> dict[str, JSON]:
    async with (
        cluster.connect("demo", nodes=[node_id], actor="judge") as client,
        client.context(NAME, create=False) as context,
    ):
        return context.to_json()


def _of_content(content: dict[str, JSON], records: EditRecords, kept: Collection[Edit]) -> Iterator[str]:
    seen = elements(content)
    for edit, count in seen.items():
        if edit not in records.made:
            yield f"{edit} is there and nobody made it"
        elif count > 1:
            yield f"{edit} is there {count} times"
        if edit._replace(is_added=False) in kept:
            yield f"{edit} is there, though its end was acknowledged"
    for edit in kept:
        if _must_be_there(edit, records) and not seen[edit]:
            yield f"{edit} was acknowledged and is not there"
    total = content.get(_COUNTER, 0)
    least, most = (sum(edit.kind == _COUNTER for edit in edits) for edits in (kept, records.made))
    if not isinstance(total, int | float) or not least <= total <= most:
        yield f"the counter is at {total}, and between {least} and {most} were counted"
    yield from _of_order(content)


def _must_be_there(edit: Edit, records: EditRecords) -> bool:
    return edit.is_added and edit.kind != _COUNTER and edit._replace(is_added=False) not in records.made


def _of_order(content: dict[str, JSON]) -> Iterator[str]:
    """What one appended is in the order in which it did."""
    for kind in (_LIST, _TEXT):
        last: dict[str, int] = {}
        root = content.get(kind) or ""
        for element in root.split(";")[:-1] if isinstance(root, str) else root if isinstance(root, list) else ():
            name, _, number = str(element).rpartition(".")
            if int(number) < last.get(name, 0):
                yield f"{element} stands behind {name}.{last[name]} in the {kind}"
            last[name] = int(number)
