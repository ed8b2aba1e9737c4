"""Bytes to core's commands and back: the log format, and the mutations that clients hand in."""
