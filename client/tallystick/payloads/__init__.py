"""Payloads: bytes of any size up to a bound, cut by content, each chunk stored once in a namespace."""
