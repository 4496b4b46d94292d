"""Which failure the next request gets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.doubles.framework import STATUS_OF_FAILURE, Failure, Hint, Purpose, Reply


@dataclass(frozen=True, slots=True)
class Switch:
    """One instruction to fail.

    Attributes:
        hint: For a 429 or 503: in which form ``seconds`` is said.
        seconds: The hint's, and how late a SLOW answer is.
        times: Requests that it applies to; None: all, until it is taken away.
        model, key: Only requests for that model, or with that key; empty: any.
        on: Only requests with that purpose.
        bytes: Length of a HUGE_BODY.
    """

    failure: Failure = Failure.OK
    hint: Hint = Hint.NONE
    seconds: float = 1.0
    times: int | None = None
    model: str = ""
    key: str = ""
    on: Purpose = Purpose.SUBMIT
    bytes: int = 128_000_000

    def applies_to(self, *, model: str, key: str, purpose: Purpose) -> bool:
        return (
            self.on in (purpose, Purpose.ANY)
            and (not self.model or self.model == model)
            and (not self.key or self.key == key)
        )


_FAILURE_OF_STATUS = {status: failure for failure, status in STATUS_OF_FAILURE.items()}


def switch_from(values: Mapping[str, Any]) -> Switch:
    """A switch from its JSON form; ``failure`` may be a status number.

    Raises:
        ValueError: For an unknown name or value.
    """
    unknown = set(values) - {field.name for field in fields(Switch)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    known: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    failure = known.get("failure", Failure.OK)
    if isinstance(failure, int):
        if failure not in _FAILURE_OF_STATUS:
            raise ValueError(f"no failure has status {failure}; there are {sorted(_FAILURE_OF_STATUS)}")
        failure = _FAILURE_OF_STATUS[failure]
    known["failure"] = Failure(failure)
    known["hint"] = Hint(known.get("hint", Hint.NONE))
    known["on"] = Purpose(known.get("on", Purpose.SUBMIT))
    return Switch(**known)


class Switchboard:
    """The switches of all vendors. Set from any thread; the newest that applies wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._switches: dict[str, list[tuple[Switch, int | None]]] = {}

    def add(self, vendor: str, switch: Switch) -> None:
        with self._lock:
            self._switches.setdefault(vendor, []).insert(0, (switch, switch.times))

    def clear(self, vendor: str | None = None) -> None:
        with self._lock:
            if vendor is None:
                self._switches.clear()
            else:
                self._switches.pop(vendor, None)

    def take(self, vendor: str, *, model: str, key: str, purpose: Purpose) -> Switch:
        """The switch for one request, used up by one."""
        with self._lock:
            switches = self._switches.get(vendor, [])
            for position, (switch, left) in enumerate(switches):
                if left == 0 or not switch.applies_to(model=model, key=key, purpose=purpose):
                    continue
                if left is not None:
                    switches[position] = (switch, left - 1)
                return switch
        return Switch()


def with_hint(reply: Reply, switch: Switch) -> Reply:
    """The reply with the retry hint that the switch asks for."""
    headers = dict(reply.headers)
    body = dict(reply.json) if isinstance(reply.json, dict) else {}
    seconds = f"{switch.seconds:g}"
    match switch.hint:
        case Hint.NONE:
            return reply
        case Hint.RETRY_AFTER:
            headers["retry-after"] = seconds
        case Hint.RETRY_AFTER_DATE:
            now = datetime.now(UTC).replace(microsecond=0)
            headers["date"] = format_datetime(now, usegmt=True)
            headers["retry-after"] = format_datetime(now + timedelta(seconds=switch.seconds), usegmt=True)
        case Hint.RETRY_AFTER_MS:
            headers["retry-after-ms"] = f"{switch.seconds * 1000:g}"
        case Hint.RATELIMIT_RESET:
            headers["ratelimit-reset"] = seconds
        case Hint.RETRY_INFO:
            info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
            error = body.get("error")
            body["error"] = {**(error if isinstance(error, dict) else {}), "details": [info]}
        case Hint.RETRY_AFTER_BODY:
            body["retry_after"] = switch.seconds
    if switch.hint in (Hint.RETRY_INFO, Hint.RETRY_AFTER_BODY):
        return Reply(reply.status, body, headers=headers)
    return Reply(reply.status, reply.json, reply.content, reply.media_type, headers)
