"""The keys of one provider, and which of them are at rest just now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.core.errors import ErrorKind
from service.providers.base import Credential
from service.routing.keys import Key, KeyRing, Rest


@dataclass(frozen=True, slots=True)
class WeightedCredential:
    """A configured key: the credential, its share of the requests, and the models it may be used for (empty: all)."""

    credential: Credential
    weight: float = 1.0
    models: frozenset[str] = field(default_factory=frozenset)


class Credentials:
    """What ``KeyRing`` decides, remembered, with the secrets that go with the names.

    One instance serves all requests to a provider. A key that a caller brought along gets an instance of its own,
    so that it never serves anybody else: ``Credentials.only(credential)``.
    """

    def __init__(self, credentials: Sequence[WeightedCredential]) -> None:
        """Without any credential, requests are sent without authorization (a self-hosted server).

        Raises:
            ValueError: Two have the same name, or a weight is negative.
        """
        self._by_name = {each.credential.name: each.credential for each in credentials}
        self._ring = KeyRing(tuple(Key(each.credential.name, each.weight, each.models) for each in credentials))

    @classmethod
    def only(cls, credential: Credential) -> Credentials:
        """Just this one key, for all models."""
        return cls([WeightedCredential(credential)])

    def limited_to(self, names: Collection[str]) -> Credentials:
        """Only the keys of these names. They rest together with the same keys here."""
        return _Limited(self, frozenset(names))

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self._by_name)})"

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def ring(self) -> KeyRing | None:
        """The keys' names, which of them rest, and how one is chosen; None where the provider is asked without one."""
        return self._ring if self._by_name else None

    def named(self, name: str) -> Credential | None:
        """The credential of that name; None where there is none, such as for the empty name."""
        return self._by_name.get(name)

    def rest(self, name: str, until: float, reason: ErrorKind, now: float, model: str = "") -> None:
        """Leaves a key alone until that monotonic instant, for one model or (empty) for all."""
        self._ring = self._ring.rested(name, until, reason, now, model)

    def worked(self, name: str, model: str) -> None:
        """The provider has accepted a key for a model: what was refused before is forgotten."""
        self._ring = self._ring.worked(name, model)

    def renew(self, credential: Credential) -> None:
        """Puts another secret in the place of the key of that name; the next request uses it.

        Raises:
            KeyError: There is no key of that name.
        """
        if credential.name not in self._by_name:
            raise KeyError(credential.name)
        self._by_name[credential.name] = credential
        self._ring = self._ring.renewed(credential.name)

    def snapshot(self, now: float) -> Mapping[str, Mapping[str, Rest]]:
        """For each key's name its rests, by model ("" for all); empty when it can be used freely."""
        return self._ring.snapshot(now)


class _Limited(Credentials):
    """Some of the keys of another instance, which remembers their rests."""

    def __init__(self, whole: Credentials, names: frozenset[str]) -> None:
        self._whole = whole
        self._names = names
        self._by_name = {name: key for name, key in whole._by_name.items() if name in names}

    @property
    def ring(self) -> KeyRing | None:
        whole = self._whole.ring
        if whole is None:
            return None
        # If none of the names is known any more, the ring is empty: that does not mean to ask without a key.
        return replace(whole, keys=tuple(key for key in whole.keys if key.name in self._names))

    def rest(self, name: str, until: float, reason: ErrorKind, now: float, model: str = "") -> None:
        self._whole.rest(name, until, reason, now, model)

    def worked(self, name: str, model: str) -> None:
        self._whole.worked(name, model)

    def snapshot(self, now: float) -> Mapping[str, Mapping[str, Rest]]:
        return {name: rests for name, rests in self._whole.snapshot(now).items() if name in self._names}
