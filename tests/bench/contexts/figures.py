"""What is measured of contexts. See `tests.bench.figures`."""

from __future__ import annotations

from typing import Final

from tests.bench.figures import Figure

_LESS: Final = False
_MORE: Final = True

FIGURES: Final = (
    Figure("pycrdt_rate", "raw: pycrdt, key set, update applied to a second document", "1/s", None, _MORE),
    Figure("pycrdt_trace_s", "raw: pycrdt, the trace, each edit a transaction", "s"),
    Figure("pycrdt_trace_two_s", "raw: the same, each update applied to a second document", "s"),
    Figure("pycrdt_load_ms", "raw: pycrdt, an empty document takes the whole of that which is opened", "ms"),
    Figure("yjs_seen_ms", "raw: y-websocket (memory only), an edit seen by another client, p50", "ms"),
    Figure("yjs_rate", "raw: y-websocket (memory only), edits until another client has all", "1/s", None, _MORE),
    Figure("yjs_trace_s", "raw: Yjs in Node, the trace, each edit a transaction", "s"),
    Figure("echo_idle_ms", "raw: longest answer of a node that does nothing", "ms"),
    Figure("seen_ms", "an edit on one node seen by a subscriber of another, p50", "ms", 5.0, raw=("yjs_seen_ms",)),
    Figure("seen_p99_ms", "the same, p99", "ms"),
    Figure("local_rate", "small edits, acknowledged local", "1/s", 5000, _MORE, raw=("pycrdt_rate",)),
    Figure("quorum_rate", "small edits, acknowledged quorum", "1/s", 3000, _MORE, raw=("pycrdt_rate",)),
    Figure("single_rate", "small edits that cannot be grouped, acknowledged local", "1/s", None, _MORE),
    Figure("trace_s", "the trace through a client and a node, until acknowledged local", "s", raw=("pycrdt_trace_s",)),
    Figure("trace_ratio", "trace through a node over raw pycrdt", "x", 2.0),
    Figure("open_ms", "opening a document of many edits", "ms", 250, raw=("pycrdt_load_ms",)),
    Figure("open_cold_ms", "the same, at a node that has just started", "ms", 250, raw=("pycrdt_load_ms",)),
    Figure("idle_worker_mib", "memory of a worker (RSS), documents idle", "MiB", 100, by_worst=True),
    Figure("gap_ms", "longest answer of a node while it loads and sends a large document", "ms", 50),
    Figure("heal_ms", "from the end of a partition to equal digests", "ms", 5000, by_worst=True),
)
