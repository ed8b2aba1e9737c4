"""Copies of the state machine between nodes: given to who asks, taken where the log alone does not help."""
