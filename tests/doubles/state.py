"""The memory of the doubles between requests: the log, leaked keys, jobs and result files."""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.doubles.framework import Job, Recorded, VendorDouble
from tests.doubles.switches import Switchboard, switch_from

_LONGEST_LOGGED_TEXT = 200


@dataclass(frozen=True, slots=True)
class Leak:
    """A key where it does not belong."""

    order: int
    vendor: str
    key_of: str
    where: str


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file that a result URL leads to."""

    data: bytes
    media_type: str
    expired: bool = False


class State:
    """Shared by all doubles of one server. Tests read and switch it from their own thread."""

    def __init__(self, doubles: Iterable[VendorDouble]) -> None:
        self.doubles: Mapping[str, VendorDouble] = {double.name: double for double in doubles}
        self.switches = Switchboard()
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets everything, switches too."""
        with self._lock:
            self.switches.clear()
            self.log: list[Recorded] = []
            self.leaks: list[Leak] = []
            # Requests that were kept waiting until the client gave them up.
            self.abandoned: list[Recorded] = []
            self.files: dict[str, ResultFile] = {}
            self.jobs: dict[str, dict[str, Job]] = {name: {} for name in self.doubles}
            self._orders = itertools.count()
            self._ids = itertools.count(1)

    def next_order(self) -> int:
        with self._lock:
            return next(self._orders)

    def new_id(self) -> str:
        """A UUID-shaped id; the same ones again after a reset."""
        with self._lock:
            return str(uuid.uuid5(uuid.NAMESPACE_OID, str(next(self._ids))))

    def fail(self, vendor: str, failure: str | int, **switch: Any) -> None:
        """Makes coming requests to a vendor fail; the arguments are the fields of Switch.

        Raises:
            ValueError: For an unknown vendor, failure or field.
        """
        if vendor not in self.doubles:
            raise ValueError(f"no double is called {vendor!r}; there are {', '.join(sorted(self.doubles))}")
        self.switches.add(vendor, switch_from({"failure": failure, **switch}))

    def requests(self, vendor: str | None = None) -> list[Recorded]:
        """The requests so far, in order, of one vendor or of all; downloads of result files are among them."""
        return [request for request in list(self.log) if vendor in (None, request.vendor)]

    def record(self, request: Recorded, *, is_file: bool) -> None:
        """Logs a request and notes every known key in it that is not where its own vendor wants it."""
        self.log.append(request)
        double = self.doubles[request.vendor]
        presented = double.authenticate(request)
        for owner in self.doubles.values():
            for key in owner.accepted_keys:
                for where in _places_of(key, request):
                    allowed = owner.name == double.name and not is_file and where.startswith("header")
                    if not (allowed and presented):
                        self.leaks.append(Leak(request.order, request.vendor, owner.name, where))


def _places_of(key: str, request: Recorded) -> Iterable[str]:
    for name, value in request.headers.items():
        if _holds(value, key):
            yield f"header {name}"
    if any(_holds(value, key) for value in request.query.values()):
        yield "query"
    if _holds(request.path, key):
        yield "path"
    if _holds(request.body, key):
        yield "body"


def _holds(text: str | bytes, key: str) -> bool:
    """Whether the key is there as a whole: the name of one vendor may be the beginning of another's."""
    if isinstance(text, str):
        text = text.encode()
    wanted = key.encode()
    return wanted in text and re.search(re.escape(wanted) + rb"(?![\w-])", text) is not None


def logged(request: Recorded) -> dict[str, Any]:
    """A request as ``GET /_log`` shows it: long texts cut, files by their size."""
    form = request.form
    return {
        "order": request.order,
        "vendor": request.vendor,
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": dict(request.headers),
        "body_bytes": len(request.body),
        "json": _shortened(request.json),
        "form": form
        and {
            "fields": [[name, _shortened(value)] for name, value in form.fields],
            "files": [[file.name, file.filename, file.media_type, len(file.data)] for file in form.files],
        },
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_LOGGED_TEXT:
        return f"{value[:_LONGEST_LOGGED_TEXT]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value
