"""`tallystick verify export`: is what an export or an archive holds what was decided? No node is asked.

Rules of this file:
- Each file is checked by itself. Then they must link: where one begins behind a base, another one of that agent must
  come by there with the same hash and the same state, unless it is the oldest of its log. They may overlap, and come in
  any order.
- What differs is named, and the command ends with the exit code of damage.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

import click

from tallystick.errors import Corrupt, TallystickError
from tallystick.history.export_format import LINE_BYTES, ExportedBase, ExportedCheckpoint, ExportEnd
from tallystick.history.export_reader import ExportReader
from tallystick_node.cli import keys
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import counted, write_json
from tallystick_node.cli.printable import printable
from tallystick_node.cli.verify_payloads import check_payloads
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.values import JsonValue, digest_json, json_size, load_json
from tallystick_node.wire.mutations import decode_mutation

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_GZIP: Final = b"\x1f\x8b"


class _Seam(NamedTuple):
    """A point of a log where a file begins, or that one comes by."""

    seq: int
    hash: bytes
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class _Log:
    """Whose mutations a file holds."""

    namespace: str
    agent: str
    branch: str

    @property
    def of_agent(self) -> tuple[str, str]:
        """Its agent: a branch begins at a point of another one."""
        return self.namespace, self.agent


@dataclass(slots=True)
class _Read:
    """What a file came to."""

    file: Path
    log: _Log
    begins: _Seam
    end: ExportEnd
    states: int
    signer: bytes | None
    payloads: frozenset[bytes]


@click.command("export")
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--payloads", "archive", type=_FOLDER, help="The archive's folder: the payloads that they name are checked."
)
@click.option("--public-key", type=_FILE, help="PEM file of whose signature each must bear.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for programs; of several files JSON Lines.")
def verify_export(files: tuple[Path, ...], archive: Path | None, public_key: Path | None, *, as_json: bool) -> None:
    """Check exports and archives, without any node.

    They are of `tallystick agent export`, or what retention archived. The chain, the states at checkpoints, and the
    signature are checked; of several files also that they link, with none missing between them.
    """
    trusted = keys.load_public(public_key) if public_key is not None else None
    begins: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for file in files:
        with _reading(file) as reader:
            begins[_log(reader).of_agent].add(reader.base_seq)
    come_by: defaultdict[tuple[str, str], set[_Seam]] = defaultdict(set)
    found = []
    for file in files:
        with _reading(file) as reader:
            of_agent = _log(reader).of_agent
            read = _read(file, reader, begins[of_agent], come_by[of_agent])
            if archive is not None:
                check_payloads(archive, read.log.namespace, sorted(read.payloads))
        if trusted is not None and read.signer != trusted:
            bears = "not signed" if read.signer is None else f"signed by {keys.fingerprint(read.signer)}"
            raise Failure(f"{file}: {bears}, not signed with that key", ExitCode.CORRUPT)
        _tell(read, is_trusted=trusted is not None, as_json=as_json, is_alone=len(files) == 1)
        found.append(read)
    for read in found:
        _check_link(read, found, come_by[read.log.of_agent])
    if len(files) > 1 and not as_json:
        links = "they link" if len(come_by) == 1 else f"of {len(come_by)} agents, and those of each link"
        click.echo(f"{len(files)} files: {links}")


@contextmanager
def _reading(file: Path) -> Iterator[ExportReader]:
    """A reader of it; what is wrong within this is the file's fault."""
    try:
        with _opened(file) as stream:
            yield ExportReader(iter(lambda: stream.readline(LINE_BYTES + 1), b""))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _bad(file, f"it cannot be unpacked: {error}") from error
    except Corrupt as error:  # its own advice is for a node's disk
        raise _bad(file, error.message) from error


def _opened(file: Path) -> gzip.GzipFile | BufferedReader:
    with file.open("rb") as stream:
        is_packed = stream.read(len(_GZIP)) == _GZIP
    return gzip.open(file, "rb") if is_packed else file.open("rb")


def _bad(file: Path, why: str) -> Failure:
    advice = "It is no export, or not as it was written: ask for it anew."
    return Failure(f"{file}: {why}", ExitCode.CORRUPT, advice)


def _log(reader: ExportReader) -> _Log:
    return _Log(*(str(reader.head.get(name)) for name in ("namespace", "agent", "branch")))


def _read(file: Path, reader: ExportReader, wanted: set[int], come_by: set[_Seam]) -> _Read:
    """Does what the mutations did, and compares the state with each checkpoint.

    Args:
        wanted: the seqs of which it is kept in `come_by` what the log was there.
    """
    document = Document.empty()
    payloads: set[bytes] = set()
    state_digest = digest_json(document.root)
    compared = 0
    for record in reader:
        if isinstance(record, ExportedBase):
            document, state_digest = _document(record), hashlib.sha256(record.state).digest()
        elif isinstance(record, ExportedCheckpoint):
            if digest_json(document.root) != record.state_digest:
                raise Corrupt(f"the state at the checkpoint {record.name!r}, seq {record.seq}, is another")
            compared += 1
        else:
            payloads.update(_apply(document, record.seq, record.raw))
            if record.seq in wanted:
                come_by.add(_Seam(record.seq, record.hash, digest_json(document.root)))
    if reader.end is None:
        raise Corrupt("the file is cut short")
    begins = _Seam(reader.base_seq, reader.base_hash, state_digest)
    return _Read(file, _log(reader), begins, reader.end, compared, keys.signer(reader.end), frozenset(payloads))


def _document(base: ExportedBase) -> Document:
    try:
        root: JsonValue = load_json(base.state)
    except TallystickError as error:
        raise Corrupt("the state that it begins with is not JSON") from error
    return Document(root, json_size(root))


def _apply(document: Document, seq: int, raw: bytes) -> Iterable[bytes]:
    """Does what a mutation did; the payloads that it names."""
    try:
        mutation = decode_mutation(raw)
        for operation in mutation.operations:
            apply_operation(document, operation)
    except TallystickError as error:
        raise Corrupt(f"the mutation at seq {seq} does not fit the state before it") from error
    document.commit()
    return mutation.payloads


def _check_link(read: _Read, found: Sequence[_Read], come_by: set[_Seam]) -> None:
    begins = read.begins
    if begins.seq == 0 or begins in come_by:
        return
    if begins.seq == min(other.begins.seq for other in found if other.log == read.log):
        return  # what came before is in none of these
    if any((seam.seq, seam.hash) == (begins.seq, begins.hash) for seam in come_by):
        raise _bad(read.file, f"it begins behind seq {begins.seq} with another state than was there")
    raise Failure(
        f"{read.file}: it begins behind seq {begins.seq}, and none of these files has that mutation",
        ExitCode.CORRUPT,
        "One between them is missing, or it is of another history.",
    )


def _tell(read: _Read, *, is_trusted: bool, as_json: bool, is_alone: bool) -> None:
    end, signer = read.end, read.signer
    if as_json:
        told = {
            "agent": read.log.agent,
            "namespace": read.log.namespace,
            "branch": read.log.branch,
            "after_seq": read.begins.seq,
            "mutations": end.mutations,
            "checkpoints": end.checkpoints,
            "states_checked": read.states,
            "payloads": len(read.payloads),
            "hash": end.hash.hex(),
            "signed_by": None if signer is None else keys.fingerprint(signer),
            "signer_trusted": is_trusted,
        }
        write_json(told if is_alone else {"file": str(read.file), **told}, indent=is_alone)
        return
    signed = "not signed" if signer is None else f"signed by {keys.fingerprint(signer)}"
    if signer is not None and not is_trusted:
        signed += " (whoever that is: say --public-key)"
    after = f" after {read.begins.seq}" if read.begins.seq else ""
    has = f"{counted(end.mutations, 'mutation')}{after}, {counted(read.states, 'checkpoint')}"
    click.echo(printable(f"{read.file}: whole; {has}, {signed}"))
