"""Captured requests and answers, safe to show: no secrets, no image bytes, no headers."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service.providers.base import Credential
from service.providers.http import FormBody, HttpResponse, JsonBody

_LONGEST_TEXT = 10_000
_DEEPEST = 40
_SHORTEST_BINARY = 256
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n_-]+={0,2}\s*")
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]*)*?(?P<base64>;base64)?,", re.IGNORECASE)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def captured_request(body: JsonBody | FormBody | None, credential: Credential | None) -> Any:
    """A request body as a value with a JSON form; a form becomes an object of its fields and files."""
    secrets = _secrets(credential)
    if body is None:
        return None
    if isinstance(body, JsonBody):
        return _elided(body.value, secrets)
    parts: dict[str, Any] = {}
    for name, value in body.fields:
        _add(parts, name, _elided(value, secrets))
    for file in body.files:
        _add(parts, file.name, f"<{len(file.data)} bytes of {file.media_type}>")
    return parts


def captured_response(response: HttpResponse, credential: Credential | None) -> Any:
    """A response body as a value with a JSON form: parsed if it is JSON, otherwise its text or a description."""
    secrets = _secrets(credential)
    try:
        return _elided(orjson.loads(response.body), secrets)
    except orjson.JSONDecodeError:
        pass
    try:
        return _elided(response.body.decode(), secrets)
    except UnicodeDecodeError:
        return f"<{len(response.body)} bytes of {_media_type(response.body)}>"


def _secrets(credential: Credential | None) -> tuple[str, ...]:
    """Longest first, so that a secret which begins with another is hidden whole."""
    if credential is None:
        return ()
    known = {credential.secret, *credential.parts.values()} - {""}
    return tuple(sorted(known, key=len, reverse=True))


def _elided(value: Any, secrets: tuple[str, ...], depth: int = 0) -> Any:
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, str):
        return _elided_text(value, secrets)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes of {_media_type(bytes(value[:16]))}>"
    if isinstance(value, Mapping):
        return {_elided_text(str(name), secrets): _elided(member, secrets, depth + 1) for name, member in value.items()}
    if isinstance(value, Sequence):
        return [_elided(member, secrets, depth + 1) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # As it is sent: JSON has no such numbers.
    return value


def _elided_text(text: str, secrets: tuple[str, ...]) -> str:
    data_url = _DATA_URL.match(text)
    if data_url is not None:
        data = text[data_url.end() :]
        size = _base64_size(data) if data_url["base64"] else len(data)
        return f"<{size} bytes of {data_url['type'] or 'text/plain'}>"
    # Searched before cutting: a cut could leave half a secret that no longer matches.
    if len(text) >= _SHORTEST_BINARY and _BASE64.fullmatch(text):
        return f"<{_base64_size(text)} bytes of {_media_type(_first_bytes(text))}>"
    for secret in secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… <{len(text)} characters>"


def _base64_size(text: str) -> int:
    return len(text.rstrip().rstrip("=")) * 3 // 4


def _first_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text[:16], altchars=b"-_" if "-" in text[:16] or "_" in text[:16] else None)
    except (binascii.Error, ValueError):
        return b""


def _media_type(start: bytes) -> str:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "binary data")


def _add(parts: dict[str, Any], name: str, value: Any) -> None:
    """Sets a form part; a name that repeats becomes a list."""
    if name not in parts:
        parts[name] = value
    elif isinstance(parts[name], list):
        parts[name].append(value)
    else:
        parts[name] = [parts[name], value]
