"""What the tests of consensus share: a member without a network, driven by hand, and messages to hand it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tallystick.peer.v1.peer_pb2 import AppendEntries, AppendReply, LogEntry, RaftMessage, VoteReply, VoteRequest
from tallystick_node.consensus import members as cluster
from tallystick_node.consensus.entries import encode_commands
from tallystick_node.consensus.intake import Addressed, Verdict
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tallystick_node.storage.journal import SEGMENT_BYTES, Flush, Journal
from tests.sim.disk import SimFiles

TUNING = Tuning(heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0)
FOLDER = Path("/journal")


def voters(names: Iterable[str]) -> cluster.Members:
    """A cluster of these."""
    return cluster.Members.of(cluster.Member(name) for name in names)


class Clock:
    """Stands still, but for a microsecond a look (see tests/sim/world.py), until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 1e-6
        return self.now_s


class RecordingMachine:
    """Remembers what it applied; a command's result is the command."""

    def __init__(self) -> None:
        self.entries: list[CommittedEntry] = []
        self.is_odd = False
        """Its state is not what the log says."""

    @property
    def applied_index(self) -> int:
        return self.entries[-1].index if self.entries else 0

    @property
    def durable_index(self) -> int:
        return self.applied_index

    @property
    def members(self) -> bytes | None:
        return next((entry.members for entry in reversed(self.entries) if entry.members is not None), None)

    def digest_at(self, index: int) -> bytes | None:
        return (
            b"odd" if self.is_odd else str([entry.commands for entry in self.entries if entry.index <= index]).encode()
        )

    @property
    def commands(self) -> list[bytes]:
        return [command for entry in self.entries for command in entry.commands]

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[bytes]]:
        self.entries.extend(entries)
        return [list(entry.commands) for entry in entries]


class Member:
    """A replica on a disk in memory. Its peers are the test."""

    def __init__(
        self,
        peers: str = "bc",
        *,
        name: str = "a",
        files: SimFiles | None = None,
        replica_class: type[Replica[bytes]] = Replica,
        machine: RecordingMachine | None = None,
        tuning: Tuning = TUNING,
        clock: Clock | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        first: str | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.files = files or SimFiles(random.Random(1))
        self.journal = Journal.open(self.files, FOLDER, segment_bytes=segment_bytes)
        self.machine = machine or RecordingMachine()
        self.peers = peers
        rng = random.Random(ord(name))
        self.replica = replica_class(
            name,
            voters(name + peers if first is None else first),
            self.journal,
            self.machine,
            tuning=tuning,
            clock=self.clock,
            rng=rng,
        )
        self.kernel = self.replica.kernel
        for peer in peers:
            self.replica.peer_connected(peer)

    def receive(self, peer: str, *messages: RaftMessage) -> None:
        """They wait for the next step."""
        for message in messages:
            self.replica.receive(peer, message)

    def sync(self, flush: Flush | None) -> None:
        """What the step wrote is on disk."""
        if flush is not None:
            self.journal.write_flush(flush)
            self.journal.finish_flush(flush)

    def cycle(self) -> Addressed:
        """One turn of the control loop; returns all that was sent."""
        ready = self.replica.step()
        self.sync(ready.flush)
        self.replica.apply()
        return ready.send_now + self.replica.take_held()

    def settle(self) -> Addressed:
        """Turns until there is nothing to do at once; returns all that was sent."""
        sent = self.cycle()
        for _ in range(100):
            if not self.replica.has_work:
                return sent
            sent += self.cycle()
        raise AssertionError("the member is never done")

    def wait(self, seconds: float) -> Addressed:
        """Time passes, and the member wakes up once."""
        self.clock.now_s += seconds
        return self.settle()

    def lead(self, voters: str = "b") -> Addressed:
        """Elects it, with the votes of these peers; returns what it sent as a leader."""
        self.settle()
        self.wait(self.kernel.next_deadline_s - self.clock.now_s + 0.01)
        for voter in voters:
            grant = RaftMessage(term=self.kernel.term)
            grant.pre_vote_reply.asked_term = self.kernel.term + 1
            self.receive(voter, grant)
        self.settle()
        for voter in voters:
            self.receive(voter, RaftMessage(term=self.kernel.term, vote_reply=VoteReply()))
        sent = self.settle()
        assert self.kernel.is_leader
        return sent

    def verdicts(self) -> dict[bytes, Verdict[bytes]]:
        """What callers were told since the last call."""
        return dict(self.replica.take_verdicts())

    def log(self) -> list[tuple[int, int]]:
        """The (index, term) of every entry."""
        journal = self.journal
        return [(index, journal.term_at(index)) for index in range(journal.first_index, journal.last_index + 1)]


class Group:
    """Members on one clock, joined by a network that takes no time."""

    def __init__(
        self,
        names: str = "abc",
        *,
        tuning: Tuning = TUNING,
        replica_class: type[Replica[bytes]] = Replica,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.clock = Clock()
        self.cut: set[str] = set()
        """Members that nobody hears and who hear nobody."""
        self.sent: list[bytes] = []
        """Every message that went over the network, as bytes."""
        self.members = {
            name: Member(
                names.replace(name, ""),
                name=name,
                clock=self.clock,
                tuning=tuning,
                replica_class=replica_class,
                segment_bytes=segment_bytes,
            )
            for name in names
        }

    def join(self, name: str) -> None:
        """A new node, that knows the others and is none of the voters."""
        names = "".join(self.members)
        self.members[name] = Member(names, name=name, clock=self.clock, first=names)
        for member in self.members.values():
            member.replica.peer_connected(name)

    def run(self) -> None:
        """Lets everyone work until all is quiet. No time passes."""
        for _ in range(1000):
            letters = [(name, *letter) for name, member in self.members.items() for letter in member.settle()]
            for source, target, message in letters:
                if not {source, target} & self.cut and target in self.members:
                    self.sent.append(message.SerializeToString())
                    self.members[target].receive(source, RaftMessage.FromString(self.sent[-1]))
            if not any(member.replica.has_work for member in self.members.values()):
                return
        raise AssertionError("the group is never quiet")

    def wait(self, seconds: float, step_s: float = 0.005) -> None:
        """Time passes."""
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            self.clock.now_s += step_s
            self.run()

    def elect(self) -> Member:
        """Waits for a leader that the others know."""
        for _ in range(50):
            self.wait(0.1)
            leaders = self.leaders()
            if len(leaders) == 1:
                return self.members[leaders[0]]
        raise AssertionError("no leader")

    def leaders(self) -> list[str]:
        """Who believes to lead."""
        return [name for name, member in self.members.items() if member.kernel.is_leader]


def data(command: bytes, proposal_id: bytes = b"0123456789abcdef") -> bytes:
    """The bytes of an entry of one command."""
    return encode_commands([(proposal_id, command)])


def append(
    term: int, previous: tuple[int, int], entries: Iterable[tuple[int, int]] = (), *, commit_index: int = 0
) -> RaftMessage:
    """A leader's append_entries; entries are (index, term), each with a command that tells both."""
    body = AppendEntries(
        prev_index=previous[0],
        prev_term=previous[1],
        commit_index=commit_index,
        entries=[LogEntry(index=index, term=its, data=data(b"%d.%d" % (index, its))) for index, its in entries],
    )
    return RaftMessage(term=term, append_entries=body)


def accepted(term: int, last_index: int) -> RaftMessage:
    """A follower has the log on disk up to here."""
    return RaftMessage(term=term, append_reply=AppendReply(next_index=last_index + 1, success=True))


def ask_vote(term: int, last: tuple[int, int]) -> RaftMessage:
    """A candidate asks."""
    return RaftMessage(term=term, vote_request=VoteRequest(last_index=last[0], last_term=last[1]))


def bodies(messages: Addressed, kind: str) -> list[RaftMessage]:
    """Those of one kind."""
    return [message for _, message in messages if message.WhichOneof("body") == kind]
