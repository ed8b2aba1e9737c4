"""What all tests share: what Python compiles is kept, whatever the caller's environment says.

Tests start nodes hundreds of times, and compiling is half of a node's start: `PYTHONDONTWRITEBYTECODE`, which many
containers set, would have each of them do it anew.
"""

from __future__ import annotations

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
