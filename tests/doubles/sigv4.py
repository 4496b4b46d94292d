"""AWS Signature Version 4 from its specification, with nothing of botocore in it: the judge of what botocore signs.

Source: "AWS Signature Version 4 for API requests". ``tests/unit/providers/test_bedrock.py`` checks it against
vectors of AWS's published test suite.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote, urlsplit


def signature(
    method: str,
    url: str,
    signed_headers: Mapping[str, str],
    body: bytes,
    *,
    secret_access_key: str,
    scope: str,
    timestamp: str,
) -> str:
    """The signature in hex.

    Args:
        signed_headers: Exactly the headers that are signed, ``host`` included; names in lower case.
        scope: ``date/region/service/aws4_request``.
        timestamp: As in ``x-amz-date``: ``20150830T123600Z``.
    """
    parts = urlsplit(url)
    canonical = "\n".join(
        [
            method,
            quote(parts.path or "/", safe="/~"),  # Encoded once more than on the wire, as for all services but S3.
            "&".join(sorted(parts.query.split("&"))) if parts.query else "",
            *(f"{name}:{' '.join(signed_headers[name].split())}" for name in sorted(signed_headers)),
            "",
            ";".join(sorted(signed_headers)),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    to_sign = "\n".join(["AWS4-HMAC-SHA256", timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret_access_key}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def parse_authorization(value: str) -> Mapping[str, str]:
    """``Credential``, ``SignedHeaders`` and ``Signature`` of an Authorization header; empty when it is another."""
    scheme, _, rest = value.partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return {}
    return dict(pair.strip().partition("=")[::2] for pair in rest.split(","))
