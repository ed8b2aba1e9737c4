"""Consensus: bytes in, the same bytes in the same order out on every node. It knows no agents. See DESIGN.md."""
