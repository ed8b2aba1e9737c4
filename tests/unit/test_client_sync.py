"""The blocking twin: as fresh as its source, the same words, and threads that are never left waiting."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_args, get_origin, get_type_hints

import pytest

import tallystick
from tallystick import ops, sync
from tallystick._portal import SyncIterator
from tallystick.errors import Reason
from tests.unit.client_kit import DEADLINE_S, Node, endpoints, freezes, nodes, refuses

ROOT = Path(__file__).resolve().parents[2]
TWINS: list[tuple[type[object], type[object]]] = [
    (tallystick.Client, sync.SyncClient),
    (tallystick.Agent, sync.SyncAgent),
    (tallystick.Members, sync.SyncMembers),
    (tallystick.AppendStream, sync.SyncAppendStream),
    (tallystick.PendingAppend, sync.SyncPendingAppend),
    (tallystick.Schemas, sync.SyncSchemas),
    (tallystick.Context, sync.SyncContext),
    (tallystick.contexts.Presence, sync.SyncPresence),
    (tallystick.contexts.StoredContext, sync.SyncStoredContext),
]


class Cluster:
    """Fake nodes on a thread of their own, for tests that have no event loop."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._started: Future[list[Node]] = Future()
        self._stopped = asyncio.Event()
        self.thaw = asyncio.Event()

    def start(self) -> list[Node]:
        self._thread.start()
        return self._started.result(DEADLINE_S)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with nodes(self._count) as started:
            self._started.set_result(started)
            await self._stopped.wait()

    def until(self, node: Node, condition: Callable[[], bool]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(node.until(condition), self._loop).result(DEADLINE_S)

    def stop(self) -> None:
        if self._loop is None:
            return
        self._loop.call_soon_threadsafe(self.thaw.set)
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(DEADLINE_S)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(2)
    yield cluster
    cluster.stop()


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_sync", ROOT / "scripts" / "generate_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_twin_is_fresh_and_rendering_is_deterministic() -> None:
    module = generator()
    text = module.render()
    assert text == (ROOT / "client" / "tallystick" / "sync.py").read_text()
    assert text == module.render()


def test_a_new_method_gets_a_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generator()
    shutil.copytree(ROOT / "client" / "tallystick", tmp_path, dirs_exist_ok=True)
    agent = tmp_path / "_agent.py"
    new = '    async def nap(self, *, for_s: float = 1.0) -> Revision:\n        """Naps."""\n        raise OSError\n\n'
    agent.write_text(agent.read_text().replace("    async def delete(", f"{new}    async def delete(", 1))
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    assert "def nap(self, *, for_s: float = 1.0) -> Revision:" in module.render()
    assert "self._portal.run(self._inner.nap(for_s=for_s))" in module.render()


def function_of(member: object) -> Callable[..., object]:
    function = member.fget if isinstance(member, property) else member
    assert callable(function)
    return function


def returned(function: Callable[..., object]) -> object:
    """The type that it returns. (`get_type_hints` would read the parameters too, some of which are recursive.)"""
    late = {"Context": tallystick.Context, "StoredContext": tallystick.contexts.StoredContext}
    alone = SimpleNamespace(__annotations__={"return": function.__annotations__["return"]})
    return get_type_hints(alone, {**vars(inspect.getmodule(function)), **late})["return"]


def members(original: type[object]) -> dict[str, object]:
    """What a class of ours has, from its bases too."""
    ours = [part for part in reversed(original.__mro__) if part.__module__.startswith("tallystick")]
    return {name: member for part in ours for name, member in vars(part).items()}


@pytest.mark.parametrize(("original", "twin"), TWINS, ids=lambda item: item.__name__)
def test_signatures_match(original: type[object], twin: type[object]) -> None:
    skipped = {name for owner, name in generator().SKIPPED if owner == original.__name__}
    found = members(original)
    names = {name for name in found if not name.startswith("_")} - skipped
    assert names == {name for name in vars(twin) if not name.startswith("_")}
    for name in names:
        assert isinstance(vars(twin)[name], property) == isinstance(found[name], property)
        ours, theirs = function_of(vars(twin)[name]), function_of(found[name])
        assert not inspect.iscoroutinefunction(ours)
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        assert inspect.getdoc(ours)
        returns, expected = returned(ours), returned(theirs)
        if get_origin(expected) is AsyncGenerator:
            assert get_origin(returns) is SyncIterator
            assert get_args(returns)[0] == get_args(expected)[0]
        else:
            assert returns == vars(sync).get(f"Sync{getattr(expected, '__name__', '')}", expected)


def test_connect_has_the_same_parameters() -> None:
    assert inspect.signature(sync.connect).parameters == inspect.signature(tallystick.connect).parameters


def test_a_whole_session_from_a_plain_thread(cluster: Cluster) -> None:
    started = cluster.start()
    with sync.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        assert agent.rehydrate().state == {}
        assert agent.append(ops.set("/a", 1), cause="c1").seq == 1
        assert agent.checkpoint("batch-1", step=1).step == 1
        with agent.stream() as stream:
            pending = [stream.append(ops.increment("/n")) for _ in range(10)]
        assert [item.result().seq for item in pending] == list(range(2, 12))
        assert [entry.seq for entry in agent.log()] == list(range(1, 12))
        assert [info.name for info in client.agents()] == ["migrator"]
        with client.watch(agent="migrator", after=tallystick.Revision(1, 0)) as events:
            seen = [next(events).revision.position for _ in range(12)]
        assert seen == list(range(1, 13))
        assert len(client.statuses()) == 2
        assert client.session == (tallystick.Revision(1, 12),)
        with pytest.raises(tallystick.NotFound):
            client.agent("nobody").read()
    with pytest.raises(tallystick.Unavailable):
        agent.read()
    client.close()


def test_many_threads_share_a_client(cluster: Cluster) -> None:
    started = cluster.start()
    with sync.connect(endpoints(started), namespace="demo") as client, ThreadPoolExecutor(8) as threads:
        agent = client.agent("migrator")
        answers = list(threads.map(lambda number: agent.append(ops.set("/a", number)).seq, range(50)))
    assert sorted(answers) == list(range(1, 51))


def test_closing_ends_what_other_threads_wait_for(cluster: Cluster) -> None:
    started = cluster.start()
    for node in started:
        node.faults.append(freezes(cluster.thaw))
    client = sync.connect(started[0].endpoint, namespace="demo")
    with ThreadPoolExecutor(2) as threads:
        write = threads.submit(client.agent("migrator").append, ops.set("/a", 1))
        cluster.until(started[0], lambda: bool(started[0].requests))
        watch = threads.submit(next, client.watch(after=tallystick.Revision(1, 0)))
        cluster.until(started[0], lambda: started[0].waiting == 1)
        client.close()
        assert isinstance(write.exception(DEADLINE_S), tallystick.Undecided)
        assert isinstance(watch.exception(DEADLINE_S), tallystick.Unavailable)


def test_closing_an_iterator_ends_the_thread_that_waits_in_it(cluster: Cluster) -> None:
    started = cluster.start()
    with sync.connect(started[0].endpoint, namespace="demo") as client, ThreadPoolExecutor(1) as threads:
        events = client.watch(after=tallystick.Revision(1, 0))
        waiting = threads.submit(list, events)
        cluster.until(started[0], lambda: started[0].waiting == 1)
        events.close()
        assert waiting.result(DEADLINE_S) == []
        cluster.until(started[0], lambda: started[0].waiting == 0)
        assert list(events) == []


def test_an_iterator_that_is_dropped_cancels_its_call(cluster: Cluster) -> None:
    started = cluster.start()
    with sync.connect(started[0].endpoint, namespace="demo") as client:
        client.agent("migrator").append(ops.set("/a", 1))
        for event in client.watch(after=tallystick.Revision(1, 0)):
            assert event.revision.position == 1
            break
        gc.collect()
        cluster.until(started[0], lambda: started[0].waiting == 0)


def test_a_client_that_is_dropped_ends_its_thread() -> None:
    before = set(threading.enumerate())
    client = sync.connect("127.0.0.1:1", namespace="demo")
    (thread,) = set(threading.enumerate()) - before
    del client
    gc.collect()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_bad_address_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(tallystick.Invalid):
        sync.connect("", namespace="demo")
    assert threading.active_count() == before


def test_ctrl_c_ends_a_wait(cluster: Cluster) -> None:
    started = cluster.start()
    ended = threading.Event()

    async def waits(_context: object, _apply: object) -> None:
        try:
            await cluster.thaw.wait()
        finally:
            ended.set()

    started[0].faults.append(waits)
    program = (
        "import sys; from tallystick import ops, sync\n"
        "with sync.connect(sys.argv[1], namespace='demo') as client:\n"
        "    try:\n"
        "        client.agent('migrator').append(ops.set('/a', 1), timeout_s=60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, started[0].endpoint]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        cluster.until(started[0], lambda: bool(started[0].requests))
        os.kill(process.pid, signal.SIGINT)
        assert ended.wait(2.0)  # before the attempt ends by itself, and while the client is still open
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)


def test_a_program_that_never_closes_ends(cluster: Cluster) -> None:
    started = cluster.start()
    program = (
        "import sys; from tallystick import ops, sync\n"
        "client = sync.connect(sys.argv[1], namespace='demo')\n"
        "print(client.agent('migrator').append(ops.set('/a', 1)).seq)\n"
    )
    command = [sys.executable, "-c", program, started[0].endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


def test_errors_keep_their_class_and_reason(cluster: Cluster) -> None:
    started = cluster.start()
    started[0].faults.append(refuses(Reason.SEQ_CONFLICT, {"head_seq": "3"}))
    with sync.connect(started[0].endpoint, namespace="demo") as client, pytest.raises(tallystick.Conflict) as caught:
        client.agent("migrator").append(ops.set("/a", 1), expected_seq=9)
    assert caught.value.metadata == {"head_seq": "3"}
