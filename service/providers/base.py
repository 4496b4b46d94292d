"""The protocol that every provider's translator fulfils, and the values it speaks in.

A translator converses; it never connects. ``Translator.vary`` is a generator that yields HTTP requests and
is sent the successful (2xx) responses, so polling fits in it and a test can drive it with canned answers.
Everything that needs a socket, a clock or chance (retries, timeouts, credentials, downloads of result
URLs) belongs to the executor that drives it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from service.catalog.profile import Profile
from service.core.calls import CallResult, ProviderCall
from service.core.errors import GatewayError
from service.providers.http import HttpRequest, HttpResponse, SignableRequest


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address and options of one configured provider. Holds no secret.

    Attributes:
        provider: The provider's name in the config, which a target's first half names.
        base_url: Without a trailing slash. Requests to its origin carry the credential.
        trusted_hosts: Further hosts that may be polled and given the credential, by https only: exact names, or
            suffixes that start with a dot (``.bfl.ai``).
        options: Wire-format settings of this provider, such as ``api_version``, ``region`` or ``project``.
    """

    provider: str
    base_url: str
    trusted_hosts: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credential:
    """One key at one provider. ``name`` is for logs; the rest never leaves the process but to the provider.

    ``secret`` is the API key or token. ``parts`` holds what some schemes need besides, such as AWS's
    ``access_key_id``, ``secret_access_key`` and ``session_token``.
    """

    name: str
    secret: str = field(default="", repr=False)
    parts: Mapping[str, str] = field(default_factory=dict, repr=False)


Exchange = Generator[HttpRequest, HttpResponse, CallResult]
"""Yields requests, is sent 2xx responses, returns the result; raises GatewayError for refusals and bad answers."""


class Translator(Protocol):
    """The wire format of one provider. Stateless: one instance serves every configured endpoint."""

    def vary(self, call: ProviderCall, profile: Profile, endpoint: Endpoint) -> Exchange:
        """Converses with the provider until images are there.

        Raises:
            GatewayError: CONTENT_REJECTED when a 2xx says that the content was refused, BAD_RESPONSE when it
                makes no sense or holds no image, UNSUPPORTED when this model cannot express the call.
        """
        ...

    def authorization(
        self, request: SignableRequest, credential: Credential, endpoint: Endpoint, now: datetime
    ) -> Mapping[str, str]:
        """The headers that carry the credential. ``now`` is in UTC, for schemes that sign the time."""
        ...

    def failure(self, response: HttpResponse) -> GatewayError:
        """The error that a response with a status outside 2xx means. Never raises, for any bytes."""
        ...
