"""The client's values of contexts as JSON for programs. Field names are the words of the wire."""

from __future__ import annotations

import orjson

from tallystick import ContextInfo
from tallystick.contexts import BlameLine, Compaction, ContextMeasure, Cursor, Edit, Overlap, Present, Verified, Version
from tallystick_node.cli.output import clock
from tallystick_node.cli.records import Record


def info(info: ContextInfo) -> Record:
    """A context, as it was decided."""
    return {
        "context": info.name,
        "guid": info.guid.hex(),
        "epoch": info.epoch,
        "is_sealed": info.is_sealed,
        "actor": info.actor,
        "time": clock(info.time),
        "schema": orjson.loads(info.schema_json) if info.schema_json else None,
        "revision": str(info.revision),
    }


def measure(measure: ContextMeasure) -> Record:
    """A context, and what a node has of it."""
    return {
        **info(measure.info),
        "node_id": measure.node_id,
        "document_size_bytes": measure.document_size_bytes,
        "stored_size_bytes": measure.stored_size_bytes,
        "updates": measure.updates,
        "writers": measure.writers,
        "tombstones": measure.tombstones,
        "subscribers": measure.subscribers,
        "cursor": None if measure.cursor is None else cursor(measure.cursor),
    }


def cursor(cursor: Cursor) -> Record:
    """A cursor, in the shape of `Cursor.to_json`."""
    fields: Record = orjson.loads(cursor.to_json())
    return fields


def edit(edit: Edit) -> Record:
    """An edit."""
    return {
        "number": edit.number,
        "writer": edit.writer,
        "clock": edit.clock,
        "end_clock": edit.end_clock,
        "deletes": edit.deletes,
        "actor": edit.actor,
        "cause": edit.cause,
        "time": clock(edit.time),
        "node_id": edit.node_id,
        "merged": clock(edit.merged),
        "flags": list(edit.flags),
    }


def blame_line(line: BlameLine) -> Record:
    """Who wrote what is there now."""
    return {"path": line.path, "value": line.value, "edit": edit(line.edit)}


def overlap(overlap: Overlap) -> Record:
    """Two edits that did not know of each other."""
    return {
        "number": overlap.number,
        "path": overlap.path,
        "kind": overlap.kind,
        "first": edit(overlap.first),
        "second": edit(overlap.second),
        "first_value": overlap.first_value,
        "second_value": overlap.second_value,
    }


def version(version: Version) -> Record:
    """A named version."""
    return {
        "version": version.name,
        "actor": version.actor,
        "agent": version.agent,
        "checkpoint": version.checkpoint,
        "time": clock(version.time),
        "size_bytes": version.size_bytes,
        "epoch": version.cursor.epoch,
        "revision": str(version.revision),
    }


def verified(verified: Verified) -> Record:
    """Whether voters hold equal documents."""
    return {
        "equal": verified.equal,
        "nodes": [
            {
                "node_id": node.node_id,
                "digest": node.digest.hex(),
                "documents": node.documents,
                "error": node.error or None,
            }
            for node in verified.nodes
        ],
        "different": [{"namespace": namespace, "context": name} for namespace, name in verified.different],
    }


def compaction(compaction: Compaction) -> Record:
    """A new epoch."""
    return {
        **info(compaction.info),
        "size_before_bytes": compaction.size_before_bytes,
        "size_after_bytes": compaction.size_after_bytes,
    }


def present(present: Present) -> Record:
    """One who is here."""
    return {"writer": present.writer, "actor": present.actor, "state": present.state}
