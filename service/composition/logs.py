"""The log: one JSON object a line on standard output. No line holds a secret or image bytes."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from service.core.current import current_request

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; ``extra={"fields": {...}}`` adds fields to it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "from": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        request = current_request.get()
        if request is not None:
            line["id"] = request.id
            if request.traceparent:
                line["traceparent"] = request.traceparent
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode("utf-8")
        except TypeError:
            # Half surrogates and numbers of more than 64 bits: slower, but no line is lost over them.
            return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Sends everything at or above ``level`` (debug, info, warning, error) to standard output."""
    # Skip caller, thread and process look-ups: our formatter prints none of them (Python's logging HOWTO,
    # "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    # Libraries log URLs and headers when they are talkative; ours says what is worth saying.
    for library in ("httpx", "httpcore", "aiohttp", "PIL", "numba", "asyncio", "grpc"):
        logging.getLogger(library).setLevel(max(logging.WARNING, _LEVELS[level]))
