"""The log: one JSON object a line on standard output. No line holds a secret or image bytes."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from service.core.current import current_request

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


# Bytes of a line, at most. A line of ours has some hundred; a traceback a few thousand.
MOST_LINE_BYTES = 16_384
# Characters of its message and of its exception where it would be longer: together less than that, escapes included.
_SHORT_CHARACTERS = 1_000
# Loggers that repeat what callers sent, headers with credentials included.
_REPEATS_CALLERS = "grpc"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; ``extra={"fields": {...}}`` adds fields to it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "from": record.name,
            "level": record.levelname.lower(),
            "message": _message(record),
        }
        request = current_request.get()
        if request is not None:
            line["id"] = request.id
            if request.traceparent:
                line["traceparent"] = request.traceparent
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self._exception(record)
        text = _dumped(line)
        return text if len(text) <= MOST_LINE_BYTES else _dumped(_shortened(line))

    def _exception(self, record: logging.LogRecord) -> str:
        if not _repeats_callers(record):
            return self.formatException(record.exc_info) if record.exc_info else ""
        kind, _, frames = record.exc_info or (None, None, None)
        return "".join(traceback.format_tb(frames)) + (kind.__name__ if kind else "")


def _repeats_callers(record: logging.LogRecord) -> bool:
    return record.name == _REPEATS_CALLERS or record.name.startswith(_REPEATS_CALLERS + ".")


def _message(record: logging.LogRecord) -> str:
    if not _repeats_callers(record):
        return record.getMessage()
    # The pattern is a constant of the library's; what it is filled with may be a header of a caller's.
    return str(record.msg) if record.args else "a message that is not repeated, since it may hold what a caller sent"


def _dumped(line: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode("utf-8")
    except TypeError:
        # Half surrogates and numbers of more than 64 bits: slower, but no line is lost over them.
        return json.dumps(line, default=str)


def _shortened(line: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a line that tells most: its time, origin and request, and the ends of its texts."""
    kept = {name: line[name] for name in ("time", "from", "level", "id") if name in line}
    for name in ("message", "exception"):
        text = str(line.get(name, ""))
        if len(text) > 2 * _SHORT_CHARACTERS:
            text = text[:_SHORT_CHARACTERS] + " ... " + text[-_SHORT_CHARACTERS:]
        if text:
            kept[name] = text
    return {**kept, "shortened": True}


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
