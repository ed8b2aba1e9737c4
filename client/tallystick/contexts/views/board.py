"""A board of tasks: their fields merge, their claims are decided.

Rules of this file:
- A field of a task is a key of its own, `<task>/<field>`: fields that two replicas set at once both stay; of one field
  set twice at once the higher writer's value stays, as in a map.
- A task is there as long as a field of it is. Removing removes the fields that are seen: a field that is set elsewhere
  meanwhile brings the task back, with that field.
- Editing works offline. Claiming asks a majority: see `claims`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from tallystick.contexts.views.claims import Claim, ClaimInfo, Claims, check_task
from tallystick.contexts.views.held import Held
from tallystick.contexts.views.roots import MapRoot, View, read_items
from tallystick.contexts.views.shapes import Kind, board_tasks
from tallystick.contexts.views.values import Value, ValueLike, check_key, child, normalise, read_value

OPEN: Final = "open"
"""The status of a task that was added without one."""


class BoardView(View[MapRoot], Mapping[str, dict[str, Value]]):
    """A root that is a board: a mapping from tasks to their fields.

    Example:
        board = context.board("tasks")
        board.add("t1", title="Write the tests")
        async with await board.claim("t1", ttl_s=60) as claim:
            work(token=claim.epoch)
            board.set("t1", status="done")
            await claim.finish()

    Raises:
        Invalid: `INVALID_NAME`: no name for a task; `INVALID_VALUE`, `TOO_DEEP` or `TOO_LARGE`: what cannot be
            shared; `TYPE_CLASH`: the root is of another kind.
    """

    kind = Kind.BOARD

    def __init__(self, held: Held, name: str, claims_of: Callable[[str], Claims]) -> None:
        super().__init__(held, name)
        self._claims_of = claims_of
        self._claims: Claims | None = None

    def __getitem__(self, task: str) -> dict[str, Value]:
        fields = self._fields(task)
        if not fields:
            raise KeyError(task)
        return fields

    def __contains__(self, task: object) -> bool:
        return isinstance(task, str) and bool(self._keys(task))

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks())

    def __len__(self) -> int:
        return len({key.partition("/")[0] for key in self._root().keys()})  # noqa: SIM118

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.tasks()!r:.200})"

    def tasks(self, *, status: str | None = None) -> dict[str, dict[str, Value]]:
        """All tasks with their fields, sorted; or those of this status."""
        tasks = cast("dict[str, dict[str, Value]]", board_tasks(read_items(self._root())))
        return {task: fields for task, fields in tasks.items() if status is None or fields.get("status") == status}

    def add(self, task: str, **fields: ValueLike) -> None:
        """Adds a task with these fields, in one edit; its status is `open` unless given."""
        self.set(task, **{"status": OPEN, **fields})

    def set(self, task: str, **fields: ValueLike) -> None:
        """Sets these fields of a task, in one edit; the others stay."""
        task = check_task(task, self._path)
        path = child(self._path, task)
        plain = {
            check_key(f"{task}/{field}", path): normalise(value, child(path, field)) for field, value in fields.items()
        }
        if not plain:
            return
        with self._edit() as root:
            for key, value in plain.items():
                root[key] = value

    def remove(self, task: str, *fields: str) -> None:
        """Removes a task, or these fields of it, in one edit; what is not there is not missed."""
        keys = self._keys(task)
        if fields:
            keys = [key for key in keys if key.partition("/")[2] in fields]
        if not keys:
            return
        with self._edit() as root:
            for key in keys:
                del root[key]

    async def claim(self, task: str, *, ttl_s: float = 30.0, timeout_s: float | None = None) -> Claim:
        """The exclusive right to a task for `ttl_s` seconds, decided by a majority. The task need not be on the board.

        Raises:
            Conflict: `TASK_CLAIMED`: another has it, or has finished it; the metadata say who (`actor`), until when by
                its clock (`until_unix_ms`; others may take it `MARGIN_S` later) and with which `epoch`.
            Unavailable: no majority answers; nothing is claimed.
            Undecided: it may be claimed: ask again through this board, or leave it to its end.
        """
        return await self._decided().claim(check_task(task, self._path), ttl_s, timeout_s)

    async def claims(self, *, timeout_s: float | None = None) -> dict[str, ClaimInfo]:
        """Who has which task, as a majority knows it; claims that ended and that nobody took since are among them.

        Raises:
            Unavailable: no majority answers.
        """
        return await self._decided().all(timeout_s)

    def _decided(self) -> Claims:
        if self._claims is None:
            self._claims = self._claims_of(self._name)
        return self._claims

    def _keys(self, task: str) -> list[str]:
        begin = f"{task}/"
        return [key for key in self._root().keys() if key.startswith(begin)]  # noqa: SIM118

    def _fields(self, task: str) -> dict[str, Value]:
        root = self._root()
        return {key.partition("/")[2]: read_value(root[key]) for key in sorted(self._keys(task))}
