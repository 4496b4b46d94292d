"""The ``providers`` section: where each provider is reached, with which keys, and what differs from the catalog."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, Field, ValidationInfo, create_model, model_validator

from service.catalog.catalog import ProviderEntry, elsewhere, is_vendors
from service.catalog.profile import Price, Profile
from service.config.fields import (
    CertificateFile,
    Frozen,
    HeaderName,
    Number,
    OptionalUrl,
    ProxyUrl,
    Seconds,
    Secret,
    Settings,
    TrustedHost,
    Whole,
    empty,
)
from service.config.secret_files import read_secret
from service.core.values import Size
from service.providers.base import Credential


class KeySettings(Settings):
    """One key of a provider.

    Attributes:
        name: For logs and attempts. Empty in the file: ``key-1``, ``key-2`` and so on.
        value: The key itself, whether written in the file or taken from ``env`` or ``file``.
        env: The environment variable that ``value`` came from, or empty.
        file: The file that ``value`` came from, or empty. It is read anew when it changes.
        parts: What some schemes need besides or instead (AWS: access_key_id, secret_access_key, session_token).
        weight: Share of the calls, relative to the provider's other keys; 0: only when no other can be used.
        models: The models it may be used for; empty: all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = ""
    value: Secret | None = None
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = ""
    file: str = ""
    parts: Frozen[str, Secret] = Field(default_factory=empty)
    weight: Annotated[Number, Field(ge=0, le=1_000_000)] = 1.0
    models: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _look_up(cls, values: Any, info: ValidationInfo) -> Any:
        if isinstance(values, str):
            return {"value": values}
        if not isinstance(values, dict):
            return values
        name = values.get("env")
        file = values.get("file")
        if sum(bool(source) for source in (name, file, values.get("value"))) > 1:
            raise ValueError("give one of value, env and file, not several")
        if not (name or file or values.get("value") or values.get("parts")):
            raise ValueError(
                "needs a value, env naming the environment variable that holds it, or file naming the file"
            )
        if isinstance(file, str) and file:
            return {**values, "value": read_secret(file)}
        if isinstance(name, str) and name:
            environment: Mapping[str, str] = (info.context or {}).get("environment", {})
            if not environment.get(name, "").strip():
                raise ValueError(f"the environment variable {name} is not set")
            return {**values, "value": environment[name]}
        return values

    @property
    def credential(self) -> Credential:
        """The key as the transport takes it."""
        secret = self.value.get_secret_value() if self.value else ""
        return Credential(self.name, secret, {name: part.get_secret_value() for name, part in self.parts.items()})


def _size(value: Any) -> Any:
    if isinstance(value, str):
        width, cross, height = value.partition("x")
        if cross and width.isascii() and height.isascii() and width.isdigit() and height.isdigit():
            return Size(int(width), int(height))
    raise ValueError("must be WIDTHxHEIGHT in pixels, such as 1024x1024")


def _overrides(name: str, facts: type[Any], replaced: Mapping[Any, Any]) -> type[Settings]:
    """A section with the fields of a dataclass, all of them optional, so that neither can forget one."""
    hints = get_type_hints(facts)
    fields: dict[str, Any] = {
        field.name: (replaced.get(hints[field.name], hints[field.name]), None) for field in dataclasses.fields(facts)
    }
    return create_model(name, __base__=Settings, __module__=__name__, **fields)


_Amount = Annotated[Number, Field(ge=0)]
_Count = Annotated[Whole, Field(ge=1)]
PriceOverrides = _overrides("PriceOverrides", Price, {float: _Amount})
_ProfileFacts = _overrides(
    "_ProfileFacts",
    Profile,
    {
        int: _Count,
        tuple[Size, ...]: tuple[Annotated[Size, BeforeValidator(_size)], ...],
        Price | None: PriceOverrides,
    },
)


class ProfileOverrides(_ProfileFacts):  # type: ignore[valid-type,misc]  # made from Profile's fields at import
    """Facts about one model that differ from the catalog: the fields of Profile."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts that were given, as ``catalog.profile`` takes them. A price replaces the catalog's as a whole."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "price" in given:
            given["price"] = Price(**given["price"].model_dump(exclude_unset=True))
        return given


class ProviderSettings(Settings):
    """One provider. None and empty mean: as the catalog or the gateway's general setting has it.

    Attributes:
        type: The catalog's entry for it. Empty in the file: the provider's own name.
        base_url: Without a trailing slash. Empty: the catalog's.
        trusted_hosts: Further hosts that may be polled and given the key, in addition to the catalog's.
        options: Wire-format settings, such as ``api_version``, ``region`` or ``project``.
        headers: Further request headers. Their values are treated as secrets.
        models: Per model name, facts that differ from the catalog. A new name adds a model.
        inherit_catalog: Whether the catalog's models, prices and ends of this type hold here. None: where ``base_url``
            is one of the vendor's own addresses, or the type is a server that its users run and no models are given.
        timeout: Seconds for one attempt, polling included. None: ``timeouts.attempt``.
        max_retries: None: ``retries.max``.
        concurrency: Most calls at a time. None: no limit of its own.
        allow_raw: Whether raw requests and responses may be shown. None: the general ``allow_raw``.
        proxy: Used for every request to it; ``none``: no proxy. None: as ``outbound`` says.
        client_certificate: Ours, in PEM with its chain, for a server that asks for one, and
        client_key: the key of it. Empty: it is in the same file.
        always_raw: Whether they are shown in every answer, without being asked for; ``allow_raw`` has to let them.
    """

    type: str = ""
    enabled: bool = True
    base_url: OptionalUrl = ""
    keys: tuple[KeySettings, ...] = ()
    trusted_hosts: tuple[TrustedHost, ...] = ()
    options: Frozen[str, str] = Field(default_factory=empty)
    headers: Frozen[HeaderName, Secret] = Field(default_factory=empty)
    models: Frozen[str, ProfileOverrides] = Field(default_factory=empty)
    inherit_catalog: bool | None = None
    timeout: Seconds | None = None
    max_retries: Annotated[Whole, Field(ge=0, le=10)] | None = None
    concurrency: Annotated[Whole, Field(ge=1, le=100_000)] | None = None
    allow_raw: bool | None = None
    always_raw: bool = False
    proxy: ProxyUrl | None = None
    client_certificate: CertificateFile = ""
    client_key: str = ""

    @model_validator(mode="after")
    def _check_client_key(self) -> ProviderSettings:
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key needs a client_certificate")
        if self.client_certificate:
            try:
                # The password, never right, keeps OpenSSL from asking for one at the terminal.
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                    self.client_certificate,
                    self.client_key or None,
                    password="-",  # noqa: S106 - no password at all
                )
            except OSError as error:
                reason = "the file cannot be read" if not isinstance(error, ssl.SSLError) else "it does not fit"
                raise ValueError(f"client_certificate has no key in client_key or its own file: {reason}") from None
        return self

    def entry(self, catalogued: ProviderEntry) -> ProviderEntry:
        """The catalog's entry for this provider's type, without the facts that hold for the vendor only."""
        inherits = self.inherit_catalog
        if inherits is None:
            # Servers that their users run are at addresses of their users' own, with any models.
            inherits = (catalogued.self_hosted and not self.models) or is_vendors(catalogued, self.base_url)
        return catalogued if inherits else elsewhere(catalogued)

    @model_validator(mode="after")
    def _name_keys(self) -> ProviderSettings:
        named = tuple(
            key if key.name else key.model_copy(update={"name": f"key-{position}"})
            for position, key in enumerate(self.keys, start=1)
        )
        names = [key.name for key in named]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two keys are named {name!r}")
        # The one way to fill in a derived default of a frozen model while it is being made.
        object.__setattr__(self, "keys", named)
        return self
