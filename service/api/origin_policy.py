"""Which web pages may call where no credential is required."""

from __future__ import annotations

import re

from service.core.errors import ErrorKind, GatewayError

# Web pages that this very machine serves, such as those of a development server.
_LOCAL_ORIGIN = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")


def refuse_foreign(origin: str) -> None:
    """Keeps web pages out where being on this machine is all the credential there is.

    A browser on it would send whatever a page of anybody's asks it to, with keys of ours to be spent.

    Raises:
        GatewayError: PERMISSION_DENIED for pages that do not come from this machine.
    """
    if origin and not _LOCAL_ORIGIN.fullmatch(origin):
        raise GatewayError(
            ErrorKind.PERMISSION_DENIED,
            f"Pages of {origin[:200]} may not use this gateway without a credential. Configure a key, or say "
            "allow_unauthenticated: true where anybody may use it.",
            code="origin_not_allowed",
            may_have_run=False,
        )
