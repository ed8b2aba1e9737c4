"""A simulated node: the real `Node` as a process on a simulated machine, to be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Final

from tallystick_node.config.values import Member, NodeConfig
from tallystick_node.consensus.settings import Tuning
from tallystick_node.node import Node, open_node
from tallystick_node.sharing import DOCUMENTS_NAME
from tallystick_node.sim.host import SimHost, SimMachine
from tallystick_node.sim.loop import Process, SimLoop, State
from tallystick_node.sim.network import Network
from tallystick_node.sim.trace import Trace
from tallystick_node.sim.worker import SimWorker
from tallystick_node.storage.errors import JournalBroken, JournalDamaged, UnknownFormat
from tallystick_node.storage.install import STATE_NAME
from tallystick_node.storage.replay import UNDECIDABLE

CLIENT_PORT: Final = 7420
PEER_PORT: Final = 7421


class SimNode:
    """See the module.

    Attributes:
        failure: what its last process ended with by itself, or None.
        is_ending: its process was asked to end, and has not yet.
    """

    def __init__(
        self,
        name: str,
        config: NodeConfig,
        tuning: Tuning,
        loop: SimLoop,
        network: Network,
        rng: random.Random,
        trace: Trace,
    ) -> None:
        self.name = name
        self.config = config
        self.tuning = tuning
        self.machine = SimMachine(name, loop, network, rng)
        self.failure: BaseException | None = None
        self.is_ending = False
        self._loop = loop
        self._network = network
        self._trace = trace
        self._process: Process | None = None
        self._host: SimHost | None = None
        self._node: Node | None = None
        self._life: object = None
        self._past: list[object] = []  # processes that are gone: nothing of them may end by being dropped
        self._stood_at_s = 0.0

    @property
    def is_up(self) -> bool:
        """Whether its process runs, or stands."""
        return self._process is not None

    @property
    def is_paused(self) -> bool:
        """Whether its process stands."""
        return self._process is not None and self._process.state is State.STANDS

    @property
    def is_leader(self) -> bool:
        """Whether it believes to lead."""
        return self._node is not None and self._node.is_leader

    @property
    def worker(self) -> SimWorker | None:
        """The worker of its process, if there is one."""
        return self._host.worker if self._host is not None else None

    @property
    def has_documents(self) -> bool:
        """Whether those that it is to hold are open."""
        return not self.config.contexts or (self.worker is not None and self.worker.is_open)

    @property
    def held_documents(self) -> frozenset[bytes]:
        """The guids of those that are on its disk."""
        return self.worker.held() if self.worker is not None else frozenset()

    @property
    def documents_folder(self) -> Path:
        """Where its documents are."""
        return self.config.data_folder / DOCUMENTS_NAME

    def start(self) -> None:
        """Starts a process on the machine, if there is none."""
        if self._process is not None:
            return
        self._trace.add(f"start {self.name}")
        self.failure = None
        self._network.wake(self.name)
        self._network.lose(self.name, is_told=True)  # who still talks to a former process is told now
        self._process = self._loop.begin_process(self.name)
        self._host = SimHost(self.machine, random.Random(self.machine.rng.random()))
        self._life = self._loop.create_task(
            self._live(self._host), name=f"node {self.name}", context=self._process.context()
        )

    def may_fail(self, error: BaseException) -> bool:
        """Whether what was done to it explains this end: damage that was made, and found, or a torn write that looks
        like damage to any format."""
        if isinstance(error, JournalDamaged) and error.what.endswith(UNDECIDABLE):
            return True
        return self.machine.is_rotten and isinstance(error, JournalDamaged | JournalBroken | UnknownFormat)

    def stop(self) -> None:
        """Asks it to end, as SIGTERM does."""
        self._trace.add(f"stop {self.name}")
        if self._node is not None:
            self.is_ending = True
            self._node.stop()

    def kill(self, *, power: bool = False) -> None:
        """SIGKILL; with `power`, the power goes: what was not synced is lost, and nobody is told."""
        if power:
            self._network.silence(self.name)
        if self._process is None or self._host is None:
            if power:
                self.machine.process_ended(power=True)
            return
        self._trace.add(f"{'power cut' if power else 'kill'} {self.name}")
        self._end(self._process, self._host, power=power)

    def pause(self) -> None:
        """Freezes it: connections stay, nothing answers."""
        if self._process is not None and self._process.state is State.RUNS:
            self._trace.add(f"pause {self.name}")
            self._process.state = State.STANDS
            self._stood_at_s = self._loop.now_s
            self._network.silence(self.name)

    def resume(self, *, clock_stood: bool = False) -> None:
        """Thaws it. `clock_stood`: its monotonic clock did not see the time pass, as on a suspended machine."""
        if self._process is not None and self._process.state is State.STANDS:
            self._trace.add(f"resume {self.name}")
            if clock_stood:
                self.machine.lag_s += self._loop.now_s - self._stood_at_s
            self._network.wake(self.name)
            self._loop.release(self._process)

    def rot_state(self) -> int:
        """Flips a bit of its database, while it is down; where, or -1 if there is none."""
        path = self.config.data_folder / STATE_NAME
        if not path.exists():
            return -1
        data = bytearray(path.read_bytes())
        place = self.machine.rng.randrange(len(data))
        data[place] ^= 1 << self.machine.rng.randrange(8)
        path.write_bytes(data)
        self.machine.is_state_rotten = True
        return place

    async def _live(self, host: SimHost) -> None:
        process = self._process
        try:
            async with open_node(self.config, host, self.tuning) as node:
                self._node = node
                await node.run()
        except Exception as error:  # noqa: BLE001 - the process ends with it, and whoever looks is told
            self.failure = _first(error)
            self._trace.add(f"failed {self.name} {type(self.failure).__name__}")
        if process is not None and process is self._process:
            self._trace.add(f"ended {self.name}")
            self._end(process, host, power=False)

    def _end(self, process: Process, host: SimHost, *, power: bool) -> None:
        process.state = State.GONE
        self.is_ending = False
        self._network.lose(self.name, is_told=not power)
        host.end(power=power)
        self._past.append((process, host, self._node, self._life))
        self._process = self._host = self._node = self._life = None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def make_config(name: str, names: list[str], folder: Path, *, contexts: bool = False, **settings: object) -> NodeConfig:
    """The configuration of a node among these."""
    members = tuple(Member(each, f"{each}:{PEER_PORT}", f"{each}:{CLIENT_PORT}") for each in names)
    data_folder = folder / name
    with contextlib.suppress(FileExistsError):
        data_folder.mkdir()
    return NodeConfig(
        node_id=name,
        data_folder=data_folder,
        members=members,
        cluster_id="simulated",
        client_address=f"{name}:{CLIENT_PORT}",
        peer_address=f"{name}:{PEER_PORT}",
        advertise_client=f"{name}:{CLIENT_PORT}",
        advertise_peer=f"{name}:{PEER_PORT}",
        contexts=contexts,
        **settings,  # type: ignore[arg-type]  # by name, from a few callers of ours
    )
