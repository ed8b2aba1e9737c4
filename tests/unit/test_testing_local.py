"""The parts of the local cluster that need no nodes: wires, waiting, and what is refused before anything starts."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from itertools import permutations

import pytest

from tallystick.testing.local_cluster import LocalCluster
from tallystick.testing.local_entrance import Entrance, owner_among
from tallystick.testing.local_links import CLIENTS, Links, free_addresses
from tallystick.testing.local_node import LocalClusterError, check_installed
from tallystick.testing.local_proxy import Proxy
from tallystick.testing.local_wait import eventually
from tallystick.testing.sync_cluster import SyncLocalCluster

WITHIN_S = 5.0


def _links() -> Links:
    addresses = {node_id: f"127.0.0.1:{number}" for number, node_id in enumerate("abcd", start=1)}
    return Links(addresses, addresses, (f"127.0.0.1:{port}" for port in range(100, 200)), lambda *_: None)


def _cut(links: Links) -> set[str]:
    """The ways that are held, as `from>to`."""
    held = {
        f"{source}>{target}"
        for (source, target), proxy in links._peers.items()
        if not (proxy._forth.is_set() and proxy._back.is_set())
    }
    for node_id, proxy in links._clients.items():
        held |= set() if proxy._forth.is_set() else {f"{CLIENTS}>{node_id}"}
        held |= set() if proxy._back.is_set() else {f"{node_id}>{CLIENTS}"}
    return held


def _between(*groups: Sequence[str]) -> set[str]:
    pairs = permutations(groups, 2)
    return {f"{source}>{target}" for ours, theirs in pairs for source in ours for target in theirs}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([["a"], ["b", "c", "d"]], _between("a", "bcd")),
        ([["a"]], _between("a", "bcd")),
        ([["a"], ["b"]], _between("a", "b", "cd")),
        ([["a", CLIENTS], ["b", "c", "d"]], _between(["a", CLIENTS], "bcd")),
        ([[CLIENTS]], _between([CLIENTS], "abcd")),
        ([["a", "b", "c", "d"]], set()),
    ],
)
async def test_a_partition_cuts_what_runs_between_groups(groups: list[list[str]], expected: set[str]) -> None:
    links = _links()
    links.partition(groups)
    assert _cut(links) == expected
    links.heal()
    assert _cut(links) == set()


async def test_a_cut_is_one_way() -> None:
    links = _links()
    links.cut("a", "b")
    links.cut(CLIENTS, "a")
    links.cut("b", CLIENTS)
    assert _cut(links) == {"a>b", f"{CLIENTS}>a", f"b>{CLIENTS}"}


async def test_wires_come_and_go_with_their_node() -> None:
    links, fewer = _links(), _links()
    ports = free_addresses()
    await links.add("e", next(ports), next(ports))
    links.partition([["a", "e"]])
    assert _cut(links) == _between(["a", "e"], "bcd")
    await links.remove("e")
    await fewer.remove("d")
    fewer.partition([["a"]])
    assert _cut(fewer) == _between("a", "bc")
    with pytest.raises(ValueError, match="none of"):
        fewer.cut("a", "d")
    await links.stop()


async def test_an_entrance_knows_who_knocks() -> None:
    ports = free_addresses()
    entrance_at, far_at = next(ports), next(ports)
    wire = Proxy("", far_at)
    seen: list[tuple[int, int]] = []

    def owner(local_port: int, remote_port: int) -> str | None:
        seen.append((local_port, remote_port))
        return owner_among({"me": os.getpid(), "gone": 2**22 - 1}, local_port, remote_port)

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    far = await asyncio.start_server(greet, *far_at.split(":"))
    entrance = Entrance(entrance_at, owner, {"me": wire})
    await entrance.start()
    try:
        reader, writer = await asyncio.open_connection(*entrance_at.split(":"))
        assert await asyncio.wait_for(reader.read(100), WITHIN_S) == b"hello"
        local_port = writer.get_extra_info("sockname")[1]
        assert seen == [(local_port, int(entrance_at.rpartition(":")[2]))]
        assert owner_among({"other": 1}, *seen[0]) is None
        assert owner_among({"me": os.getpid()}, 1, 1) is None
        writer.close()
    finally:
        entrance.stop()
        await wire.stop()
        far.close()


async def test_a_stranger_is_sent_away() -> None:
    ports = free_addresses()
    entrance = Entrance(next(ports), lambda *_: None, {})
    await entrance.start()
    try:
        reader, writer = await asyncio.open_connection(*entrance.listen.split(":"))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(100), WITHIN_S) == b""
        writer.close()
    finally:
        entrance.stop()


@pytest.mark.parametrize("groups", [[["a", "x"]], [["a"], ["a"]], ["ab"]])
async def test_a_wrong_partition_cuts_nothing(groups: list[list[str]]) -> None:
    links = _links()
    with pytest.raises(ValueError, match=r"x|named twice|list of names"):
        links.partition(groups)
    assert _cut(links) == set()


@pytest.mark.parametrize(("source", "target"), [("a", "x"), ("x", "a"), ("a", "a"), (CLIENTS, CLIENTS)])
async def test_a_wire_that_is_not_there_cannot_be_cut(source: str, target: str) -> None:
    with pytest.raises(ValueError, match=r"none of|itself"):
        _links().cut(source, target)


class _Echo:
    """A server that remembers what came, and the proxy before it."""

    def __init__(self) -> None:
        ports = free_addresses()
        self.address = next(ports)
        self.heard = b""
        self.proxy = Proxy(next(ports), self.address)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                self.heard += data
                writer.write(data)
        writer.close()

    async def has_heard(self, expected: bytes) -> None:
        async def look() -> bool:
            return self.heard == expected

        await eventually(look, within_s=WITHIN_S, what=f"{expected!r} arrives")


@contextlib.asynccontextmanager
async def _echo() -> AsyncIterator[tuple[_Echo, asyncio.StreamReader, asyncio.StreamWriter]]:
    echo = _Echo()
    host, _, port = echo.address.rpartition(":")
    server = await asyncio.start_server(echo.serve, host, int(port))
    await echo.proxy.start()
    try:
        reader, writer = await asyncio.open_connection(*echo.proxy.listen.split(":"))
        writer.write(b"1")
        assert await asyncio.wait_for(reader.read(100), WITHIN_S) == b"1"
        yield echo, reader, writer
        writer.close()
    finally:
        await echo.proxy.stop()
        server.close()


async def test_what_is_held_back_on_the_way_out_arrives_late() -> None:
    async with _echo() as (echo, reader, writer):
        echo.proxy.cut(back=False)
        writer.write(b"2")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.1)
        assert echo.heard == b"1"
        echo.proxy.heal()
        assert await asyncio.wait_for(reader.read(100), WITHIN_S) == b"2"


async def test_what_is_held_back_on_the_way_home_has_happened() -> None:
    async with _echo() as (echo, reader, writer):
        echo.proxy.cut(forth=False)
        writer.write(b"2")
        await echo.has_heard(b"12")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.1)
        echo.proxy.heal()
        assert await asyncio.wait_for(reader.read(100), WITHIN_S) == b"2"


async def test_who_waits_in_vain_is_told_what_for() -> None:
    async def never() -> None:
        return None

    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the moon"):
        await eventually(never, within_s=0.05, what="the moon")


@pytest.mark.parametrize("nodes", [0, 10, (), ("a", "a"), ("a", CLIENTS)])
def test_impossible_clusters(nodes: int | Sequence[str]) -> None:
    with pytest.raises(ValueError, match="nodes"):
        LocalCluster(nodes)


def test_without_the_extra_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = [
        "grpcio>=1.80",
        "not-here-a; extra == 'dev'",
        "not-here-b[x]>=2; extra == 'node'",
        "click; extra == 'node'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: stated)
    with pytest.raises(LocalClusterError, match=r"\(not-here-b\): pip install 'tallystick\[node\]'"):
        check_installed()


def test_the_extra_is_found_in_our_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    find = metadata.distribution

    def found(name: str) -> metadata.Distribution:
        asked.append(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", found)
    check_installed()
    assert {"click", "pysyncobj", "uvloop"} <= set(asked)
    assert not {"pytest", "ruff", "grpcio"} & set(asked)


def test_a_cluster_that_is_not_open_says_so() -> None:
    with pytest.raises(LocalClusterError, match="not open"):
        LocalCluster().sync().heal()


def test_the_blocking_cluster_has_all_of_the_asyncio_one() -> None:
    other = {"sync", "links", "nodes"}  # what is not for users, or needs no twin
    for name, member in inspect.getmembers(LocalCluster):
        if name.startswith("_") or name in other:
            continue
        twin = getattr(SyncLocalCluster, name)
        if callable(member):
            assert list(inspect.signature(member).parameters) == list(inspect.signature(twin).parameters), name


def test_the_plugin_loads_nothing_that_starts_nodes() -> None:
    code = "import sys, tallystick.testing.pytest_plugin as p; print([m for m in sys.modules if 'testing.' in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "tallystick.testing.pytest_plugin" in loaded
    assert "local_" not in loaded and "sync_cluster" not in loaded and "pytest_async" not in loaded
