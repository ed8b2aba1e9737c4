"""Limits of the desk itself; those that its callers meet are in `contexts.limits`."""

from __future__ import annotations

from typing import Final

from tallystick_node.contexts import limits

STATE_UPDATES: Final = 5000
"""Updates behind the newest stored state before a new one is stored, if they come to a part of it worth writing."""
STATE_PART: Final = 8
"""The part of it: one in so many of its bytes. So a byte of an edit costs at most so many more to be written."""
STATE_UPDATES_AT_MOST: Final = 25_000
"""Updates behind it before a new one is stored whatever it costs: they are merged when the document is loaded."""
STATE_BYTES_AT_MOST: Final = 8 * 1024 * 1024
"""The same, in bytes, where they come to as much as the state itself."""

FOLD_UPDATES: Final = 10_000
"""Updates that are moved into the base of a document at once."""
FOLD_SLACK: Final = 20
"""The history may be longer than its bound by one part in so many, so that not each update moves one."""

DIFF_BYTES: Final = 2 * limits.DOCUMENT_BYTES
"""What a peer may send at once: a document that two sides of a partition have both filled."""
PEER_WRITERS: Final = 4 * limits.DOCUMENT_WRITERS
"""The same, of writers. What was merged elsewhere cannot be refused here by a quota."""

PLACED_BYTES: Final = 512 * 1024
"""A document's state up to which clients' updates are judged by where its ids stand, and such an update: some 0.3 s of
work when a loaded document is first edited."""

EDITS_OF_DIFF: Final = 5000
"""Edits that are told with a diff, the newest; and that are believed of one."""
EDITS_LOOKED_AT: Final = 20_000
"""Rows that are looked at for them."""
DELETING_EDITS_COMPARED: Final = 1000
"""Rows that are looked at for whether an edit that only deletes is known."""

HANDLE_S: Final = 60.0
"""What is handed over in parts is kept for so long after it was last asked for."""
HANDLES: Final = 1000
"""How many at once, each way."""
HANDLES_BYTES: Final = 256 * 1024 * 1024
"""What they come to, each way."""

EXACT_BYTES: Final = 1024 * 1024
"""The size of a document that seems no larger is measured when it is asked for; of others it is estimated."""
CHECKED_WRITERS: Final = 64
"""Of documents with no more writers the state vector is compared after each merge; of others when they are stored."""

EARLY_REQUESTS: Final = 16
"""In a batch of more nothing is told early: it shares its sync with so many that to say all twice would cost more."""

HISTORY_PAGE: Final = 100
HISTORY_PAGE_AT_MOST: Final = 1000
DOCUMENTS_PAGE: Final = 1000
"""Documents in one answer."""
PREFIXES: Final = 4096
"""Ranges in one question."""

OVERLAPS: Final = 10_000
"""Overlaps that are kept of a document, the newest."""
OVERLAPS_TRIMMED: Final = 100
"""After so many found ones it is seen to that no more are kept."""
OVERLAPS_PAGE_AT_MOST: Final = 200
OVERLAPS_DOCUMENTS: Final = 256
"""Documents whose last structs are remembered, to compare new ones with; those not edited for longest go first."""
OVERLAP_UPDATE_BYTES: Final = 64 * 1024
"""Larger updates are not compared with others, and of their values nothing is told."""
OVERLAP_VALUE_BYTES: Final = 1024
"""A value that is told with an overlap, as JSON; larger ones are left out."""

LAYOUT_BYTES: Final = 4 * 1024 * 1024
"""A document that is larger is not taken apart: no blame of it, no paths of overlaps."""
BLAME_LINES: Final = 2000
"""Lines of one answer."""
BLAME_BYTES: Final = 1024 * 1024
"""What their values come to."""
BLAME_VALUE_BYTES: Final = 16 * 1024
"""One value; a larger one is null."""

SCHEMA_DOCUMENT_BYTES: Final = 256 * 1024
"""A document that is larger is not validated when it is edited."""
SCHEMA_DOCUMENTS: Final = 32
"""Documents of which is remembered what they break."""
SCHEMAS: Final = 32
"""Schemas that are kept ready."""
