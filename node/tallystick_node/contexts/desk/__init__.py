"""The documents of a node: merge, store, answer. Synchronous; the only place that names pycrdt."""
