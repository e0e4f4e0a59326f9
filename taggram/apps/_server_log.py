"""The log of the service on standard error: JSON, an object a line, or plain text on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOG = logging.getLogger("taggram.service")
OF_FORMS = "python_multipart"


class _Lines(logging.Formatter):
    """An object a line: time, level, event, then what belongs to it.

    Args:
        as_json: whether as JSON, or else as text for people.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        facts: dict[str, Any] = getattr(record, "facts", {})
        trace = {"trace": self.formatException(record.exc_info)} if record.exc_info else {}
        moment = datetime.fromtimestamp(record.created, UTC)
        if self._as_json:
            head = {"time": moment.isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
            return json.dumps({**head, "event": record.getMessage(), **facts, **trace}, default=str)
        told = " ".join(f"{name}={value}" for name, value in facts.items())
        return f"{moment.astimezone():%H:%M:%S} {record.getMessage()} {told}".rstrip() + "".join(
            f"\n{text}" for text in trace.values()
        )


def set_up_log() -> None:
    """Let the service, and what it stands on, log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json=not sys.stderr.isatty()))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    LOG.setLevel(logging.INFO)
    logging.getLogger(OF_FORMS).setLevel(logging.CRITICAL)  # it quotes bytes of uploads


def log(event: str, *, level: int = logging.INFO, raised: BaseException | None = None, **facts: Any) -> None:
    """Log an event.

    Args:
        event: what happened, in a word or a few.
        level: how bad it is.
        raised: what was raised; its trace is logged too.
        **facts: what belongs to it, plain values; None is left out.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    LOG.log(level, event, extra={"facts": known}, exc_info=raised)
