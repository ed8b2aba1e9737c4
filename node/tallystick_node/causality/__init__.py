"""The use cases of causality: what happened before what, and what changed of what was read."""
