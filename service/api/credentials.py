"""Which of a request's headers holds the caller's credential."""

from __future__ import annotations

from collections.abc import Mapping

from service.governance.keys import KEY_PREFIX


def credential_in(metadata: Mapping[str, str]) -> str:
    """The credential of a request, or empty.

    ``x-bf-vk`` holds nothing else, so it goes before the others: SDKs fill ``authorization`` whether its user has
    anything to say there or not. Of those, a virtual key goes before what may be any other kind of key.
    """
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    given = [
        metadata.get("x-bf-vk", "").strip(),
        token.strip() if scheme.lower() == "bearer" else "",
        metadata.get("x-api-key", "").strip(),
    ]
    if given[0]:
        return given[0]
    return next((each for each in given if each.startswith(KEY_PREFIX)), "") or given[1] or given[2]
