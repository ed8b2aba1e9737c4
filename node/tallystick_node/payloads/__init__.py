"""Payloads: the use cases, and the keeper that has what nothing refers to collected where this node leads."""
