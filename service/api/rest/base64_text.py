"""Images in base64, as clients write it: either alphabet, with line breaks or without, padded or not, as a data URL."""

from __future__ import annotations

import binascii
from typing import Final

import pybase64

from service.core.errors import GatewayError, invalid

_BLANKS: Final = b" \t\r\n"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_LONGEST_PREFIX = 256
_DATA_URL = b"data:"
_WANTED = "image must be a PNG, JPEG, WebP or GIF file in base64, or a data URL of one"


def image_from_text(text: bytes | memoryview) -> bytes:
    """The bytes of an image given as text.

    Raises:
        GatewayError: INVALID_REQUEST, saying what would be right.
    """
    start = bytes(text[:_LONGEST_PREFIX])
    if start[: len(_DATA_URL)].lower() == _DATA_URL:
        head, comma, _ = start.partition(b",")
        if not comma or not head.lower().rstrip().endswith(b";base64"):
            raise invalid("image", f"{_WANTED}: this data URL is not in base64 (data:image/png;base64,…).")
        text = memoryview(text)[len(head) + 1 :]
    elif start[:8].lower().startswith((b"http://", b"https://")):
        raise invalid("image", "image holds a URL: give it as image_url, or the file itself in base64.")
    try:
        return decoded(text)
    except ValueError:
        raise _not_base64() from None


def decoded(text: bytes | memoryview) -> bytes:
    """The bytes that base64 text stands for; ValueError where it is none."""
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error:
        # Less common, so only looked at where the fast way failed.
        plain = bytes(text).translate(_TO_STANDARD, _BLANKS).rstrip(b"=")
        return pybase64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _not_base64() -> GatewayError:
    return invalid("image", f"{_WANTED}: this text has characters that base64 has not, or is cut off.")
