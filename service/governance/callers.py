"""The caller, once identified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum

from service.governance.budgets import Account
from service.governance.keys import Team, VirtualKey, accounts_of, rates_of
from service.governance.rates import RateAccount


class CallerKind(Enum):
    """The kind of credential that let a caller in."""

    ANYBODY = "anybody"
    """None, where none is needed."""
    VIRTUAL_KEY = "virtual_key"
    TOKEN = "token"  # noqa: S105 - the word, not one of them
    DIRECT = "direct"
    """A provider's own key, which only that provider can tell from a wrong one."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of one request.

    Attributes:
        name: For logs: the configured name of the key or token; empty for others.
        direct_key: The provider key that the caller brought along, or empty.
        confined: Whether it proved nothing to us: all that it may use is what its own provider key pays for.
    """

    kind: CallerKind = CallerKind.ANYBODY
    name: str = ""
    key: VirtualKey | None = None
    team: Team | None = None
    direct_key: str = field(default="", repr=False)
    confined: bool = False

    def key_names(self, provider: str) -> frozenset[str]:
        """Names of the provider's configured keys that its requests may use. Empty: all."""
        return frozenset(self.key.provider_keys.get(provider, ())) if self.key else frozenset()

    @property
    def identity(self) -> str:
        """A text that is the same for all requests of one caller, and for nobody else's. Not to be shown."""
        if self.key is not None:
            return f"key:{self.key.digest.hex()}"
        if self.direct_key:
            return f"direct:{hashlib.sha256(self.direct_key.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return f"token:{self.name}" if self.kind is CallerKind.TOKEN else ""

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The budgets that its requests are charged to."""
        return accounts_of(self.key, self.team) if self.key else ()

    @property
    def rates(self) -> tuple[RateAccount, ...]:
        """The rate limits that its requests count against."""
        return rates_of(self.key, self.team) if self.key else ()


ANYBODY = Caller()
"""The caller of a gateway that asks for no credential."""
