"""What can be wrong with bytes of the log. Both stop the node: skipping would make replicas differ.

WireError
├── Malformed           not what this format allows: damage, or a bug
└── UnsupportedFormat   written by a newer version
"""

from __future__ import annotations


class WireError(Exception):
    """Bytes of the log cannot be read."""


class Malformed(WireError):
    """The bytes are not what this format allows."""


class UnsupportedFormat(WireError):
    """A newer version wrote this: upgrade the node."""
