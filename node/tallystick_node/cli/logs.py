"""The node's log, on stderr: JSON, a line per record, or text for people.

Rules of this file:
- A record is an event and its fields: `log.info("leader elected", extra={"event": "leader_elected", "term": 4})`.
- Payloads and secrets are not logged by anyone; this file adds nothing that a record does not carry.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

# What every record has; whatever else is on it came in `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, message, the fields, and error with its traceback.

    `event` is the word to filter by: the field of that name, or, without one, the message itself.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        message = record.getMessage()
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": fields.pop("event", message),
            "message": message,
        }
        for name, value in fields.items():
            line.setdefault(name, value)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`12:00:00.000 info  consensus: leader elected term=4`."""

    def format(self, record: logging.LogRecord) -> str:
        logger = record.name.removeprefix("tallystick_node.")
        line = f"{_time(record)[11:-1]} {record.levelname.lower():7} {logger}: {record.getMessage()}"
        line += "".join(f" {name}={value}" for name, value in _fields(record).items() if name != "event")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(level: str, log_format: str) -> None:
    """Sends all logging to stderr. Called once, by the process that is a node.

    Args:
        level: debug, info, warning or error.
        log_format: json or text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
