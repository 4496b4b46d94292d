"""The headers that every request may bring: its id, its time limit, the address it was sent to."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping

from service.core.errors import invalid

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_SANE_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

# Set by Envoy when it transcodes; it overwrites what a client sends under these names.
TRANSCODED_HEADER = "x-envoy-original-path"
METHOD_HEADER = "x-envoy-original-method"
QUERY_HEADER = "x-original-query"
HOST_HEADER = "x-forwarded-host"
SCHEME_HEADER = "x-forwarded-proto"

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-request-timeout-ms"
# The attempt count of an Envoy at the caller's side; and its x-envoy-expected-rq-timeout-ms, by our Envoy's name.
ATTEMPT_HEADER = "x-envoy-attempt-count"
SIDECAR_TIMEOUT_HEADER = "x-sidecar-timeout-ms"
RAW_HEADER = "x-raw"
TRACE_HEADER = "traceparent"


def request_id(metadata: Mapping[str, str]) -> str:
    """The caller's id for the request, if it is a sane one; else a new one."""
    given = metadata.get(REQUEST_ID_HEADER, "")
    return given if _SANE_REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def timeout_s(metadata: Mapping[str, str]) -> float | None:
    """The caller's time limit in seconds; None: no limit was given.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_timeout``.
    """
    expected = metadata.get(SIDECAR_TIMEOUT_HEADER, "")
    expected_s = int(expected) / 1000 if re.fullmatch(r"[1-9][0-9]{0,8}", expected) else None
    text = metadata.get(TIMEOUT_HEADER)
    if text is None:
        return expected_s
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise invalid(
            TIMEOUT_HEADER,
            f"The header {TIMEOUT_HEADER} must be a whole number of milliseconds from 1 to 999999999.",
            code="invalid_timeout",
        )
    return min(int(text) / 1000, expected_s or math.inf)


def content_encoding(metadata: Mapping[str, str]) -> str:
    """The compression of the request's body, as its header says; empty where there is none."""
    text = metadata.get("content-encoding", "").strip()
    return "" if text.lower() in ("", "identity") else text


def sidecar_attempt(metadata: Mapping[str, str]) -> int:
    """The number of times that the caller's proxy has sent this request, by the same id; 0 where none says so."""
    text = metadata.get(ATTEMPT_HEADER, "")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,3}", text) and REQUEST_ID_HEADER in metadata else 0


def base_url(metadata: Mapping[str, str], otherwise: str) -> str:
    """The URL under which the caller reached us, for links.

    Args:
        otherwise: Stands in where the headers do not say, or say something strange.
    """
    host = metadata.get(HOST_HEADER, "")
    if not _SANE_HOST.fullmatch(host):
        return otherwise
    scheme = "https" if metadata.get(SCHEME_HEADER) == "https" else "http"
    return f"{scheme}://{host}"
