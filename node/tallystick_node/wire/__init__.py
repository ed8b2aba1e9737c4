"""Bytes to core's commands and back: what is proposed, and the mutations that clients hand in."""
