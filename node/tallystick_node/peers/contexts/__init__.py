"""Edits of contexts between nodes: pushed as they are made, compared now and then, and diffed where something lacks."""
