"""The use cases of schemas: register one, see what would come of it, and look at those there are.

Rules of this file:
- A document is admitted and compared here, before anything is proposed; core decides which version it is, and only one
  that was compared: that behind the newest that this node knew.
- A registration is asked for seldom, so this node catches up first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from tallystick.errors import Conflict, Invalid, Reason
from tallystick_node.access import Access, Consistency, ReadFrom, page_items
from tallystick_node.core.schema_records import (
    Compatibility,
    RegisterSchema,
    SchemaKept,
    SchemaRecord,
    Subject,
)
from tallystick_node.core.values import load_json, parse_json
from tallystick_node.schemas.compatibility import incompatibilities
from tallystick_node.schemas.documents import admit
from tallystick_node.schemas.validators import Problem, Validators, compile_document
from tallystick_node.storage.pages import Page
from tallystick_node.storage.registry_reads import RegistryReads, SchemaAfter
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name
from tallystick_node.wire.schema_commands import check_subject

ATTEMPTS: Final = 8
"""How often a registration that names no version is compared again because another was registered in between."""

_TOLD: Final = 3
"""How many reasons a message of a refusal tells."""


@dataclass(frozen=True, slots=True)
class SchemaChecked:
    """What a registration would say, and what is wrong with a value.

    Attributes:
        version: that the document has, or would get.
        is_registered: it is that version.
    """

    version: int
    is_registered: bool
    incompatible: list[Problem]
    invalid: list[Problem]


class SchemaStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(
        self, access: Access, reads: RegistryReads, validators: Validators, clock_ms: Callable[[], int]
    ) -> None:
        self._access = access
        self._reads = reads
        self._validators = validators
        self._clock_ms = clock_ms

    async def register(
        self,
        namespace: str,
        subject: Subject,
        text: bytes,
        *,
        version: int,
        compatibility: Compatibility,
        actor: str,
        timeout_s: float,
    ) -> SchemaKept:
        """Adds a version; 0: the one that comes next. The newest document again is answered as the first time.

        Raises:
            Refused: Invalid (the document, `SCHEMA_INCOMPATIBLE`), Conflict (`SCHEMA_CONFLICT`), QuotaExceeded.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        check_name("namespace", namespace)
        check_subject(subject)
        document = _admitted(text)
        for left in reversed(range(ATTEMPTS)):
            await self._access.ready(ReadFrom(Consistency.LINEARIZABLE, 0, timeout_s))
            newest = self._newest(namespace, subject)
            following = newest.version + 1 if newest is not None else 1
            if newest is not None and newest.document == document:
                following = newest.version
            elif newest is not None and version in {0, following} and compatibility is Compatibility.BACKWARD:
                _refuse(newest, incompatibilities(load_json(newest.document), load_json(document)))
            command = RegisterSchema(
                self._clock_ms(), namespace, subject, version or following, document, compatibility, actor
            )
            try:
                return await self._access.decide(encode_command(command), timeout_s, SchemaKept)
            except Conflict:
                if version or not left:
                    raise
        raise AssertionError("the last attempt raises")

    async def check(
        self,
        namespace: str,
        subject: Subject,
        text: bytes,
        *,
        version: int,
        compatibility: Compatibility,
        value: bytes | None,
        read_from: ReadFrom,
    ) -> SchemaChecked:
        """What a registration would say; without a document (empty): of the one of this version. And of a value.

        Raises:
            Refused: Invalid (the document, the value's text), NotFound.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        check_subject(subject)
        document = _admitted(text) if text else b""
        await self._access.ready(read_from)
        incompatible: list[Problem] = []
        if not document:
            record = self._access.looked_up(lambda: self._reads.schema(namespace, subject, version))
            document, found, is_registered = record.document, record.version, True
        else:
            newest = self._newest(namespace, subject)
            is_registered = newest is not None and newest.document == document
            found = 1 if newest is None else newest.version + (not is_registered)
            if newest is not None and compatibility is Compatibility.BACKWARD:
                incompatible = incompatibilities(load_json(newest.document), load_json(document))
        invalid: list[Problem] = []
        if value is not None:
            hash_ = hashlib.sha256(document).digest()
            invalid = self._validators.problems(document, hash_, parse_json(value))
        return SchemaChecked(found, is_registered, incompatible, invalid)

    async def get(self, namespace: str, subject: Subject, version: int, read_from: ReadFrom) -> SchemaRecord:
        """A version of a schema; 0: the newest.

        Raises:
            NotFound: it is not registered.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        check_subject(subject)
        await self._access.ready(read_from)
        return self._access.looked_up(lambda: self._reads.schema(namespace, subject, version))

    async def schemas(
        self, namespace: str, subject: Subject | None, after: SchemaAfter | None, limit: int, read_from: ReadFrom
    ) -> Page[SchemaRecord]:
        """A page of the schemas of a namespace, or of one subject. Raises as `get`."""
        check_name("namespace", namespace)
        if subject is not None:
            check_subject(subject)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.schemas(namespace, subject, after, items))

    def _newest(self, namespace: str, subject: Subject) -> SchemaRecord | None:
        if not self._access.looked_up(lambda: self._reads.newest_version(namespace, subject)):
            return None
        return self._access.looked_up(lambda: self._reads.schema(namespace, subject, 0))


def _admitted(text: bytes) -> bytes:
    document = admit(text)
    compile_document(orjson.loads(document))
    return document


def _refuse(old: SchemaRecord, problems: list[Problem]) -> None:
    """Raises `Invalid` (`SCHEMA_INCOMPATIBLE`) if there is a problem."""
    if not problems:
        return
    told = "; ".join(f"{each.path or 'the root'} ({each.rule}): {each.message}" for each in problems[:_TOLD])
    more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
    raise Invalid(
        f"what version {old.version} of {str(old.subject)!r} allows is not provably allowed: {told}{more}",
        reason=Reason.SCHEMA_INCOMPATIBLE,
        metadata={
            "subject": str(old.subject),
            "version": str(old.version),
            "path": problems[0].path,
            "rule": problems[0].rule,
            "problems": str(len(problems)),
        },
    )
