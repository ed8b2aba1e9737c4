"""Schemas, as a program that uses them says what it knows: `from tallystick import schemas`.

`Client.schemas` registers and lists them; what is made here goes into `tallystick.connect(schemas=[...])`.

Example:
    @schemas.upcaster("state of planner-", from_version=1)
    def tasks_by_id(state):
        state["tasks"] = {task["id"]: task for task in state["tasks"]}
        return state

    client = tallystick.connect(endpoints, namespace="demo", schemas=[tasks_by_id])
"""

from tallystick.schemas.known import Known, KnownSchemas, SchemaKnowledge
from tallystick.schemas.models import Model, TypedSnapshot
from tallystick.schemas.subjects import Subject, SubjectKind
from tallystick.schemas.upcasters import Upcaster, unchanged, upcaster

__all__ = [
    "Known",
    "KnownSchemas",
    "Model",
    "SchemaKnowledge",
    "Subject",
    "SubjectKind",
    "TypedSnapshot",
    "Upcaster",
    "unchanged",
    "upcaster",
]
