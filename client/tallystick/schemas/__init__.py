"""Schemas, as a program that uses them says what it knows: `from tallystick import schemas`.

`Client.schemas` registers and lists them; what is made here goes into `tallystick.connect(schemas=[...])`.

Rules of this file: nothing that talks to nodes is imported here; what does imports from here.

Example:
    @schemas.upcaster("state of planner-", from_version=1)
    def tasks_by_id(state):
        state["tasks"] = {task["id"]: task for task in state["tasks"]}
        return state

    client = tallystick.connect(endpoints, namespace="demo", schemas=[tasks_by_id])
"""

from tallystick.schemas.known import Known, KnownSchemas, SchemaKnowledge
from tallystick.schemas.models import Model, TypedSnapshot
from tallystick.schemas.report import Brought, MigrationFailure, MigrationReport
from tallystick.schemas.subjects import Subject, SubjectKind
from tallystick.schemas.upcasters import Upcaster, unchanged, upcaster
from tallystick.schemas.values import Compatibility, Schema, SchemaCheck, SchemaProblem

__all__ = [
    "Brought",
    "Compatibility",
    "Known",
    "KnownSchemas",
    "MigrationFailure",
    "MigrationReport",
    "Model",
    "Schema",
    "SchemaCheck",
    "SchemaKnowledge",
    "SchemaProblem",
    "Subject",
    "SubjectKind",
    "TypedSnapshot",
    "Upcaster",
    "unchanged",
    "upcaster",
]
