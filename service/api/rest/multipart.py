"""Splits multipart/form-data into its parts without copying what is in them.

Follows RFC 7578 and RFC 2046 and reads what real clients and proxies make of them: a preamble, blanks behind
a boundary, folded headers, names of files in any encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from multipart import content_disposition_unquote, parse_options_header

from service.api.rest.body import Body
from service.core.errors import ErrorKind, GatewayError

MOST_PARTS: Final = 128
MOST_HEADER_BYTES: Final = 4096
LONGEST_BOUNDARY: Final = 256

# Unquoted, it may not hold any of "=:/?" by the letter of RFC 2045, and does.
_BOUNDARY = re.compile(r";[ \t]*boundary[ \t]*=[ \t]*(?:\"([^\"]*)\"|([^;]*))", re.IGNORECASE)
_CRLF = b"\r\n"
_FOLDED = re.compile(rb"\r\n[ \t]+")
_LONGEST_PADDING = 256


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form: its content is from ``start`` to ``end`` of the bytes that the body is in.

    Attributes:
        is_file: Whether it was sent as a file, that is with a file name.
        charset: The encoding that it declares for its text; empty: none.
    """

    name: str
    is_file: bool
    charset: str
    start: int
    end: int


def boundary_of(content_type: str) -> bytes:
    """The boundary that a form's content type names.

    Raises:
        GatewayError: UNSUPPORTED_MEDIA_TYPE where it is no multipart/form-data, INVALID_REQUEST where none is named.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise GatewayError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            f"The content type must be multipart/form-data or application/json, not {media_type[:80]!r}.",
            may_have_run=False,
        )
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] if found[1] is not None else found[2].strip()) if found else ""
    if not 0 < len(boundary) <= LONGEST_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise unreadable(f"its content type needs a boundary of 1 to {LONGEST_BOUNDARY} printable characters")
    return boundary.encode()


def parts_of(body: Body) -> Iterator[Part]:
    """The parts of a form in the order in which they stand.

    Raises:
        GatewayError: As ``boundary_of``; INVALID_REQUEST ``malformed_multipart`` where the body cannot be taken apart.
    """
    delimiter = b"--" + boundary_of(body.content_type)
    raw, end = body.raw, body.end
    if not len(body):
        raise unreadable("it is empty")
    first = raw.find(delimiter, body.start, end)
    while first > body.start and raw[first - 2 : first] != _CRLF:
        first = raw.find(_CRLF + delimiter, first, end) + len(_CRLF)
        if first < len(_CRLF):
            first = -1
    if first < 0:
        raise unreadable("the boundary that its content type names is not in it")
    position, last = _behind_delimiter(body, first + len(delimiter))
    between = _CRLF + delimiter
    count = 0
    while not last:
        count += 1
        if count > MOST_PARTS:
            raise unreadable(f"it may have at most {MOST_PARTS} parts")
        headers, start = _headers(body, position)
        closing = raw.find(between, max(start - len(_CRLF), position), end)
        if closing < 0:
            raise unreadable("it is cut off: its last boundary is missing")
        yield _part(headers, start, max(start, closing))
        position, last = _behind_delimiter(body, closing + len(between))


def _behind_delimiter(body: Body, position: int) -> tuple[int, bool]:
    """The end of a boundary's line, and whether it was the last boundary."""
    raw = body.raw
    if raw[position : min(position + 2, body.end)] == b"--":
        return position + 2, True
    line_end = raw.find(_CRLF, position, min(position + _LONGEST_PADDING, body.end))
    if line_end < 0 or raw[position:line_end].strip(b" \t"):
        raise unreadable("a boundary is followed by neither a line break nor --")
    return line_end + len(_CRLF), False


def _headers(body: Body, position: int) -> tuple[dict[str, str], int]:
    """A part's headers by their lower-case names, and where its content begins."""
    raw = body.raw
    if raw[position : position + 2] == _CRLF:
        return {}, position + 2
    end = raw.find(_CRLF + _CRLF, position, min(position + MOST_HEADER_BYTES, body.end))
    if end < 0:
        raise unreadable(f"a part's header lines may have at most {MOST_HEADER_BYTES} bytes, then an empty line")
    lines = _FOLDED.sub(b" ", raw[position:end]).split(_CRLF)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise unreadable("a part's header line has no colon")
        # Names of files come in every encoding, and nobody reads them.
        headers.setdefault(name.strip().decode("ascii", "replace").lower(), value.strip().decode("utf-8", "replace"))
    return headers, end + len(_CRLF + _CRLF)


def _part(headers: dict[str, str], start: int, end: int) -> Part:
    kind, options = parse_options_header(headers.get("content-disposition", ""), unquote=content_disposition_unquote)
    if kind != "form-data" or "name" not in options:
        raise unreadable("a part lacks its line Content-Disposition: form-data; name=…")
    _, type_options = parse_options_header(headers.get("content-type", ""))
    is_file = "filename" in options or "filename*" in headers.get("content-disposition", "")
    return Part(options["name"], is_file, type_options.get("charset", ""), start, end)


def unreadable(why: str) -> GatewayError:
    """The error for a body that cannot be taken apart; ``why`` ends the sentence."""
    return GatewayError(
        ErrorKind.INVALID_REQUEST,
        f"The multipart body cannot be read: {why}.",
        code="malformed_multipart",
        may_have_run=False,
    )
