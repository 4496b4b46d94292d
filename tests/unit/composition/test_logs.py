"""One JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from service.composition.logs import MOST_LINE_BYTES, JsonFormatter, configure


def line(message: str = "request", *arguments: object, exc_info: Any = None, **fields: Any) -> Any:
    record = logging.LogRecord("service.access", logging.INFO, "file", 1, message, arguments, exc_info)
    record.fields = fields
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_where_and_what() -> None:
    told = line("draining %s", "now")
    assert (told["from"], told["level"], told["message"]) == ("service.access", "info", "draining now")
    assert told["time"].endswith("+00:00")


def test_fields_are_added() -> None:
    assert line(id="r-1", milliseconds=5)["id"] == "r-1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a\nb", "a\nb"), ("\ud800", "\ud800"), (10**30, 10**30), (b"x", "b'x'"), ({"n": {1}}, {"n": "{1}"})],
)
def test_no_line_is_lost_over_what_is_in_it(value: Any, shown: Any) -> None:
    assert line(odd=value)["odd"] == shown


def test_an_exception_is_part_of_its_line() -> None:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        told = line("a bug", exc_info=sys.exc_info())
    assert "ZeroDivisionError: by zero" in told["exception"]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards as it was."""
    logger = logging.getLogger()
    names = ("httpx", "httpcore", "aiohttp", "PIL", "numba", "asyncio", "grpc")
    handlers, level, levels = list(logger.handlers), logger.level, [logging.getLogger(name).level for name in names]
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(("level", "ours", "theirs"), [("debug", 10, 30), ("info", 20, 30), ("error", 40, 40)])
def test_libraries_that_log_urls_are_kept_quiet(root: logging.Logger, level: str, ours: int, theirs: int) -> None:
    configure(level)
    assert root.level == ours
    assert logging.getLogger("httpx").level == logging.getLogger("aiohttp").level == theirs


def test_lines_go_to_standard_output(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    logging.getLogger("service").info("ready", extra={"fields": {"grpc": "127.0.0.1:50051"}})
    assert json.loads(capsys.readouterr().out)["grpc"] == "127.0.0.1:50051"


@pytest.mark.parametrize(
    "fields",
    [{"odd": "x" * 100_000}, {"odd": ["x"] * 50_000}, {"id": "i", "odd": "\0" * 9_000}],
)
def test_no_line_is_long(fields: dict[str, Any]) -> None:
    told = line("begins" + "y" * 100_000 + "ends", **fields)
    assert len(json.dumps(told)) <= MOST_LINE_BYTES
    assert told["shortened"] is True
    assert told.get("id") == fields.get("id")
    assert told["message"].startswith("begins")
    assert told["message"].endswith("ends")
    assert line("\0" * 100_000)["shortened"] is True


def test_what_grpc_repeats_of_callers_is_not_logged() -> None:
    secret = "sk-" + "1" * 40
    told = []
    for name, message, arguments in (
        ("grpc._cython.cygrpc", "Invalid encoding on %s", (f"Bearer {secret}",)),
        ("grpc", f"Invalid encoding on {secret}", ()),
    ):
        try:
            raise ValueError(secret)
        except ValueError:
            record = logging.LogRecord(name, logging.ERROR, "file", 1, message, arguments, sys.exc_info())
        told.append(JsonFormatter().format(record))
    assert secret not in "".join(told)
    assert json.loads(told[0])["message"] == "Invalid encoding on %s"
    assert "test_logs.py" in json.loads(told[0])["exception"]
    assert json.loads(told[0])["exception"].endswith("ValueError")
