"""An agent's history: differences, three-way merges, reverts, undo and redo. DESIGN.md says why it is as it is.

Example:
    from tallystick import history

    history.merge({"a": 1}, {"a": 1, "b": 2}, {"a": 3}).value   # {'a': 3, 'b': 2}
"""

from tallystick.history.beginning import beginning
from tallystick.history.chain import Chain
from tallystick.history.changes import StateChange, diff, digest
from tallystick.history.export import export
from tallystick.history.export_format import Signature
from tallystick.history.export_reader import ExportReader
from tallystick.history.history import History, MergeResult, Point
from tallystick.history.merging import NOTHING, MergeConflict, Merged, MergeResolver, merge

__all__ = [
    "NOTHING",
    "Chain",
    "ExportReader",
    "History",
    "MergeConflict",
    "MergeResolver",
    "MergeResult",
    "Merged",
    "Point",
    "Signature",
    "StateChange",
    "beginning",
    "diff",
    "digest",
    "export",
    "merge",
]
