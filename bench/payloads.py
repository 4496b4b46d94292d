"""Payloads: pictures of a given length, the form they are uploaded in, and the same request as a gRPC message."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from imagevariations.v1 import image_variation_pb2 as pb

BOUNDARY = "b7e151628aed2a6abf7158809cf4f3c7"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body and the header that says what it is."""

    body: bytes = field(repr=False)
    content_type: str


def png(least_bytes: int) -> bytes:
    """A valid square RGB PNG of at least ``least_bytes`` bytes, and not much more: noise, which does not compress."""
    side = 16
    while side * side * 3 < least_bytes:
        side += 16
    return _png(side, (random.Random(side).randbytes(side * 3) for _ in range(side)), level=0)


def small_png(side: int) -> bytes:
    """A valid square RGB PNG with as many distinct rows as pixels in a row, but far fewer bytes than pixels."""
    noise = random.Random(side)
    return _png(side, (noise.randbytes(48) * (side // 16) for _ in range(side)), level=6)


def _png(side: int, rows: Iterable[bytes], *, level: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), level)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def form(image: bytes, **fields: str) -> Payload:
    """A multipart form as OpenAI's SDKs write it: the fields, then the image."""
    pieces = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    pieces.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
    )
    pieces.append(image)
    pieces.append(f"\r\n--{BOUNDARY}--\r\n".encode())
    return Payload(b"".join(pieces), FORM_TYPE)


def grpc_message(image: bytes, *, model: str, n: int, size: str) -> Payload:
    """The typed request in gRPC's framing (a flag, the length, the message): what any HTTP/2 client can send."""
    message = pb.CreateImageVariationRequest(model=model, image=image, n=n, size=size, response_format="b64_json")
    encoded = message.SerializeToString()
    return Payload(struct.pack(">BI", 0, len(encoded)) + encoded, "application/grpc")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
