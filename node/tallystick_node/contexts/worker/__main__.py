"""`python -m tallystick_node.contexts.worker`: run by the node (`supervisor.py`), by nobody else."""

from __future__ import annotations

import sys

from tallystick_node.contexts.worker.documents import open_desk, put_aside
from tallystick_node.contexts.worker.process import main

if __name__ == "__main__":
    sys.exit(main(open_desk, put_aside))
