"""The gate between callers and the service: it identifies them and reports their standing."""

from __future__ import annotations

from service.governance.authentication import Authenticator
from service.governance.callers import Caller
from service.governance.governor import Governor
from service.governance.rates import Standing


class Gate:
    """One instance serves the whole process."""

    def __init__(self, authenticator: Authenticator, governor: Governor) -> None:
        self._authenticator = authenticator
        self._governor = governor

    async def identify(self, credential: str) -> Caller:
        """As ``Authenticator.identify``."""
        return await self._authenticator.identify(credential)

    async def standing(self, caller: Caller) -> Standing | None:
        """As ``Governor.standing``."""
        return await self._governor.standing(caller)
