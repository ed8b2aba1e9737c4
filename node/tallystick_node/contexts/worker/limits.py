"""Limits of the worker process and of its supervisor, beside those of `contexts.limits`."""

from __future__ import annotations

from typing import Final

BATCH_REQUESTS: Final = 128
"""Requests that a worker takes at once: one commit for all of them. Whoever killed it is among the first so many."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""The same, in bytes; one request may be larger."""

FRAME_BYTES: Final = 16 * 1024 * 1024
"""One message between a node and its worker."""

ANSWERS_PER_TURN: Final = 64
"""Answers that the supervisor hands out before the node's event loop has its turn again."""

ANSWERS_PER_TURN_BYTES: Final = 512 * 1024
"""The same, in bytes."""

STACK_BYTES: Final = 64 * 1024 * 1024
"""Stack of the thread that runs pycrdt: how deep it can follow what is nested."""

STAGED: Final = 1000
"""Staged updates whose sums are kept."""

START_S: Final = 60.0
"""A worker that is not ready after so long is killed."""

SILENT_S: Final = 30.0
"""A worker that has something to answer and is silent for so long is killed."""

STOP_S: Final = 5.0
"""How long a worker may take to end once it was asked to."""

BACKOFF_S: Final = (0.05, 5.0)
"""Pause before a worker is started again: the first, doubled at each death, and the longest."""

SOUND_S: Final = 30.0
"""A worker that ran so long ended a row of deaths."""

SUSPECTS: Final = 4096
"""Documents under suspicion."""

CONVICTED: Final = 4096
"""Updates, questions and documents that are refused because they killed a worker."""

CAREFUL_REQUESTS: Final = 8
"""Requests of a document under suspicion that must go well, beyond those that were under way, to clear it."""

STRIKES: Final = 3
"""Deaths that another may have caused (SIGKILL, a stuck disk) before a request is convicted of them."""

QUESTION_S: Final = 60.0
"""For so long a question that killed a worker is refused: the document may have changed then."""

SET_ASIDE_OF_DOCUMENT: Final = 3
"""After so many convictions of its updates a document is refused whole, for a while."""

ASIDE_FILES: Final = 100
"""Updates that are kept for inspection."""

ASIDE_BYTES: Final = 16 * 1024 * 1024
"""The same, in bytes."""

LAST_WORDS_BYTES: Final = 4096
"""What is kept of a worker's standard error, for the record of its death."""
