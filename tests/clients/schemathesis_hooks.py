"""Tells schemathesis what pictures, page tokens and the like are: random ones are refused, and rightly so."""

from __future__ import annotations

import base64
import zlib

import schemathesis
from hypothesis import strategies


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    rows = b"".join(b"\0" + bytes((7 * x * y) % 256 for x in range(side)) for y in range(side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


_PNG = _png(64)
_BASE64 = base64.b64encode(_PNG).decode()

schemathesis.openapi.format("byte", strategies.just(_BASE64))
schemathesis.openapi.format("binary", strategies.just(_PNG))
schemathesis.openapi.format("uri", strategies.just(f"data:image/png;base64,{_BASE64}"))
schemathesis.openapi.format("page-token", strategies.just(""))
schemathesis.openapi.format("cache-namespace", strategies.sampled_from(["mine", "a.b:c@d~e_f-"]))
schemathesis.openapi.format("decimal", strategies.sampled_from(["0", "0.35", "1"]))
schemathesis.openapi.format("json-object", strategies.just('{"fal": {"x": 1}}'))


@schemathesis.hook  # type: ignore[untyped-decorator]  # not installed where types are checked
def filter_body(context: object, body: object) -> bool:
    """Leaves out nulls, which mean absent, and what Envoy's JSON parser takes or refuses in ways of its own."""
    if not isinstance(body, dict):
        return True
    fallbacks = body.get("fallbacks")
    known = {"provider", "model"}
    strange = isinstance(fallbacks, list) and any(not isinstance(each, dict) or set(each) - known for each in fallbacks)
    options = body.get("provider_options", {})
    strange = strange or not isinstance(options, (dict, str, bytes))  # Text: it is a form.
    return not strange and "" not in body and None not in body.values()
