"""Kinds of values that settings are made of, and the base of every section."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WrapSerializer,
    model_validator,
)

from service.config.units import parse_bytes, parse_seconds


class Settings(BaseModel):
    """Base of every section: frozen, refuses unknown keys, and takes an empty section for its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        # `limits:` with everything below it commented out is null to YAML.
        if values is None:
            return {}
        if isinstance(values, dict):
            return {key: value for key, value in values.items() if value is not None}
        return values


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on. ``host`` is a name or an IP address (without brackets); port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The transport writes these itself; a second copy would be request smuggling or a way around the key list.
_OWN_HEADERS = frozenset({"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"})


def parse_address(value: Any) -> Address:
    """An Address from ``127.0.0.1:8080``, ``[::1]:8080`` or ``localhost:8080``; ValueError otherwise."""
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be host:port, such as 127.0.0.1:8080 or [::1]:8080")
    port = int(match[3])
    if port > 65535:
        raise ValueError(f"the port must be from 0 to 65535, not {port}")
    if match[1]:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError:
            raise ValueError("holds no IPv6 address between its brackets") from None
    return Address(match[1] or match[2], port)


def _not_a_boolean(value: Any) -> Any:
    # Pydantic reads true as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError("must be a URL such as https://api.example.com/v1")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must start with https:// (or http://)")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password; put credentials under keys")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    return value.rstrip("/")


def _http_url_or_empty(value: str) -> str:
    return _http_url(value) if value else value


def _origin(value: str) -> str:
    url = _http_url(value)
    if urlsplit(url).path:
        raise ValueError("must be an origin, without a path: https://images.example.com or http://127.0.0.1:9000")
    return url.lower()


def _trusted_host(value: str) -> str:
    if not _HOST_NAME.fullmatch(value.removeprefix(".")):
        raise ValueError("must be a host name, or a suffix that starts with a dot, such as .example.com")
    return value.lower()


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a header name")
    if value.lower() in _OWN_HEADERS:
        raise ValueError(f"the header {value} is set by the gateway; credentials belong under keys")
    return value


def _secret(value: SecretStr) -> SecretStr:
    # Keys pasted or read from files often end in a line break.
    text = value.get_secret_value().strip()
    if not text:
        raise ValueError("is empty")
    if not text.isascii() or not text.isprintable():
        raise ValueError("holds a character that cannot be part of a key or header (a line break inside it?)")
    return SecretStr(text)


NO_PROXY = "none"


def _proxy_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if text == NO_PROXY:
        return value
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        sound = False
    rest = sound and (parts.path.strip("/") or parts.query or parts.fragment)
    if not sound or rest or parts.scheme != "http" or not text.isascii() or not text.isprintable():
        raise ValueError("must be a proxy such as http://proxy.example.com:3128 or http://user:password@…, or none")
    return SecretStr(text.rstrip("/"))


def _certificate_file(path: str) -> str:
    if path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except ssl.SSLError:
            raise ValueError("holds no certificate in PEM") from None
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


Key = TypeVar("Key")
Value = TypeVar("Value")

Text = str
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]
"""A number of bytes, written with or without a unit."""
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0)]
"""A duration in seconds, written with or without a unit."""
Whole = Annotated[int, BeforeValidator(_not_a_boolean)]
Number = Annotated[float, BeforeValidator(_not_a_boolean)]
Listening = Annotated[Address, BeforeValidator(parse_address)]
OptionalUrl = Annotated[str, AfterValidator(_http_url_or_empty)]
"""An http or https URL without credentials, query, fragment or trailing slash; or nothing."""
Origin = Annotated[str, AfterValidator(_origin)]
TrustedHost = Annotated[str, AfterValidator(_trusted_host)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
"""Printable ASCII without surrounding spaces, never shown."""
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
"""An HTTP proxy, or ``NO_PROXY``. Never shown: it may hold a password."""
CertificateFile = Annotated[str, AfterValidator(_certificate_file)]
"""A file with certificates in PEM; or nothing."""
Frozen = Annotated[
    Mapping[Key, Value],
    AfterValidator(MappingProxyType),
    # pydantic serialises dictionaries, not views of them.
    WrapSerializer(lambda value, serialise: serialise(dict(value))),
]
"""A mapping that cannot be changed."""


def empty() -> Mapping[Any, Any]:
    """A mapping with nothing in it that cannot be changed: the default of ``Frozen`` settings."""
    return MappingProxyType({})
