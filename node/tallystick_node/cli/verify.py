"""`tallystick verify cluster | folder` (and `export`, in a file of its own): is what is kept what was decided?

Rules of this file:
- Nothing that is looked at is changed: a folder is looked at in a copy.
- What differs is named (node, agent, seq, file), and the command ends with the exit code of damage. A node that does
  not answer is named too, and is no damage. What is deleted or compacted meanwhile is nobody's fault.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import click
from rich.text import Text

import tallystick
from tallystick import BranchInfo, EndpointStatus, StateDigest
from tallystick.errors import Compacted, NotFound, TallystickError, Unavailable, Undecided
from tallystick.history import Chain, beginning
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import NOBODY, ExitCode, Failure, Group
from tallystick_node.cli.output import console, write_json
from tallystick_node.cli.printable import printable
from tallystick_node.cli.verify_export import verify_export
from tallystick_node.storage import verify as stored
from tallystick_node.storage.errors import StorageError
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.install import STATE_NAME
from tallystick_node.storage.meta import load_meta
from tallystick_node.storage.replay import replay
from tallystick_node.storage.schema import open_sql

_BUSY_TIMEOUT_S: Final = 1.0
_FOLLOWED_TIMES: Final = 3
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=Group)
def verify() -> None:
    """Whether what is kept is what was decided."""


@verify.command("cluster")
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@connection_options
def verify_cluster(connection: Connection, prefix: str) -> None:
    """Follow every log on every node, and compare states.

    The hash chain of each log of the namespace, branches too; every node's state is compared with it.

    With --json: JSON Lines, one for each branch.
    """
    wrong, unseen = asyncio.run(verified(connection, prefix))
    if wrong:
        raise Failure(f"{_count(wrong, 'log')} not as decided", ExitCode.CORRUPT, "See above which, and where.")
    if unseen:
        raise Failure(f"not looked at: {', '.join(unseen)}", ExitCode.UNAVAILABLE, "The others are whole.")


async def verified(connection: Connection, prefix: str) -> tuple[int, list[str]]:
    """How many logs are wrong; and the endpoints of members that did not answer."""
    wrong = looked_at = 0
    async with connection.open() as client:
        answers = await client.statuses()
        endpoints = [each.endpoint for each in answers if each.status is not None]
        if not endpoints:
            raise Failure("no node answers", ExitCode.UNAVAILABLE, NOBODY)
        unseen = _silent(answers)
        nodes = {endpoint: connection.open_node(endpoint) for endpoint in endpoints}
        try:
            async for info in client.agents(prefix=prefix):
                async for branch in _branches(client, info.name):
                    found = await _log(client, nodes, branch)
                    wrong += any(not isinstance(why, _Unseen) for why in found.values())
                    unseen |= {endpoint for endpoint, why in found.items() if isinstance(why, _Unseen)}
                    _tell(connection, branch, [f"{endpoint}: {why}" for endpoint, why in found.items()])
                looked_at += 1
        finally:
            await asyncio.gather(*(node.close() for node in nodes.values()))
    if not connection.as_json:
        looked = f"{_count(looked_at, 'agent')} on {_count(len(nodes), 'node')}"
        console().print(Text(f"{looked}, {_count(wrong, 'log')} wrong", style="bold"))
    return wrong, sorted(unseen)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Unseen(str):
    """Why a log could not be looked at on a node, which does not mean that it is wrong."""


def _silent(answers: Sequence[EndpointStatus]) -> set[str]:
    """The endpoints of members that did not answer."""
    known = {each.status.node_id for each in answers if each.status is not None}
    members = {member for each in answers if each.status is not None for member in each.status.members}
    return {member.client_endpoint or member.node_id for member in members if member.node_id not in known}


async def _branches(client: tallystick.Client, name: str) -> AsyncGenerator[BranchInfo, None]:
    """The branches of an agent; none if it was deleted meanwhile."""
    with suppress(NotFound):
        async for branch in client.agent(name).branches():
            yield branch


async def _log(client: tallystick.Client, nodes: dict[str, tallystick.Client], branch: BranchInfo) -> dict[str, str]:
    """What is wrong with a branch of an agent, by the nodes where it is."""
    agent = client.agent(branch.agent, branch=branch.name)
    try:
        kept = await agent.state_digest()
        why = await asyncio.gather(*(_on_node(node, branch, kept) for node in nodes.values()))
        found = {endpoint: each for endpoint, each in zip(nodes, why, strict=True) if each}
        is_there = not found or (await agent.state_digest(seq=kept.seq)).hash == kept.hash
    except (NotFound, Compacted):
        is_there = False
    return found if is_there else {}  # deleted meanwhile, and perhaps made anew, or compacted behind what was compared


async def _on_node(node: tallystick.Client, branch: BranchInfo, kept: StateDigest) -> str:
    """What is wrong with it on a node: its log is followed from where it begins there, its state compared."""
    node.join_session(kept.revision)
    agent = node.agent(branch.agent, branch=branch.name)
    try:
        head = await _followed(agent, kept.seq)
        here = await agent.state_digest(seq=kept.seq)
    except (Unavailable, Undecided) as error:
        return _Unseen(error)
    except TallystickError as error:  # whatever it is, this node did not show what it should have
        return str(error)
    if not head == here.hash == kept.hash:
        return f"another hash at seq {kept.seq}"
    return "" if here.digest == kept.digest else f"another state at seq {kept.seq}"


async def _followed(agent: tallystick.Agent, upto: int) -> bytes:
    """The hash that the log's chain leads to at a seq. It is followed again where it was compacted meanwhile."""
    for _ in range(_FOLLOWED_TIMES - 1):
        with suppress(Compacted):
            return await _follow(agent, upto)
    return await _follow(agent, upto)


async def _follow(agent: tallystick.Agent, upto: int) -> bytes:
    first = await beginning(agent)
    if first is not None and first.seq > upto:
        raise Compacted(f"the log begins at {first.seq} by now")
    chain = Chain() if first is None else Chain(seq=first.seq, head=first.hash)
    async with aclosing(agent.log(after_seq=chain.seq, raw=True)) as log:
        async for mutation in log:
            if mutation.seq > upto:
                break
            if mutation.seq > chain.seq + 1 and first is None and not chain.seq:
                raise Compacted(f"the log begins behind {mutation.seq - 1} by now")
            chain.follow(mutation)
    return chain.head


def _tell(connection: Connection, branch: BranchInfo, problems: list[str]) -> None:
    if connection.as_json:
        told = {"agent": branch.agent, "branch": branch.name, "seq": branch.seq, "problems": problems}
        write_json(told, indent=False)
        return
    name = branch.agent if not branch.parent else f"{branch.agent}, branch {branch.name}"
    for problem in problems:
        console().print(Text(printable(f"! {name}  {problem}"), style="bold red"), soft_wrap=True)
    if sys.stderr.isatty():  # progress: a thing for eyes
        click.echo(f"\r\x1b[K{printable(name)[:60]} {'wrong' if problems else 'whole'}", err=True, nl=False)


@verify.command("folder")
@click.argument("folder", type=_FOLDER)
def verify_folder(folder: Path) -> None:
    """Look at every row and record of a stopped node's data.

    State and journal are copied to the folder for temporary files first, so there must be room for them.
    """
    applied_index = 0
    with _copied(folder) as copy:
        try:
            if (copy / STATE_NAME).exists():
                with closing(open_sql(copy / STATE_NAME, busy_timeout_s=_BUSY_TIMEOUT_S)) as sql:
                    stored.verify(sql)
                    applied_index = load_meta(sql).applied_index
            replayed, active = replay(RealFiles(), copy / "journal")
            active.close()
        except StorageError as error:
            raise Failure(str(error).replace(str(copy), str(folder)), ExitCode.CORRUPT) from error
    base_index, last_index = replayed.index.base_index, replayed.index.last_index
    if not base_index <= applied_index <= last_index:
        sentence = f"the state has applied entry {applied_index}, the journal has {base_index + 1} to {last_index}"
        raise Failure(f"{folder}: {sentence}", ExitCode.CORRUPT)
    click.echo(f"{folder}: whole; the journal ends with entry {last_index}, the state has applied {applied_index}")


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    if not (folder / "journal").is_dir():
        raise Failure(f"{folder} is no data folder of a node: it has no journal", ExitCode.USAGE)
    with tempfile.TemporaryDirectory(prefix="tallystick-verify-") as name:
        copy = Path(name)
        shutil.copytree(folder / "journal", copy / "journal")
        for file in folder.glob(f"{STATE_NAME}*"):
            shutil.copy2(file, copy / file.name)
        yield copy


verify.add_command(verify_export)
