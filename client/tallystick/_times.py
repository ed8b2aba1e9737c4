"""Times on the wire, in milliseconds since 1970, and as Python has them."""

from __future__ import annotations

from datetime import UTC, datetime

from tallystick.errors import Invalid, Reason


def to_time(time_unix_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(time_unix_ms / 1000, UTC)


def to_unix_ms(time: datetime) -> int:
    """An aware datetime as milliseconds since 1970, rounded down.

    Raises:
        Invalid: the datetime has no time zone, or lies before 1970.
    """
    if time.tzinfo is None:
        raise Invalid("a time needs a time zone", reason=Reason.INVALID_REQUEST, metadata={"field": "time"})
    since = time - datetime.fromtimestamp(0, UTC)
    if since.days < 0:
        raise Invalid("a time before 1970", reason=Reason.INVALID_REQUEST, metadata={"field": "time"})
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
