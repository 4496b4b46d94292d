"""A provider's circuit tells when it opens and when it closes, once each."""

from __future__ import annotations

import logging

import pytest
from fake_backends import FakeBackend

from service.core.errors import ErrorKind, GatewayError
from service.gateway.backends.remote import RemoteBackend
from service.providers.base import Endpoint
from service.providers.registry import TRANSLATORS
from service.routing.breaker import BreakerPolicy, Breakers
from service.transport.credentials import Credentials
from service.transport.upstream import Upstream


async def test_a_circuit_that_opens_and_closes_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    upstream = Upstream(TRANSLATORS["fal"], Endpoint("fal", "https://queue.fal.run"), Credentials([]))
    backend = RemoteBackend(upstream, FakeBackend(), Breakers(BreakerPolicy(failures=2)))  # type: ignore[arg-type]  # nothing is called
    down = GatewayError(ErrorKind.UNAVAILABLE, "It is down.")
    for failure in (down, down, down, None, None):
        backend.tried("redux", failure)
    told = [(record.message, record.__dict__["fields"]["target"]) for record in caplog.records]
    assert told == [("circuit opened", "fal/redux"), ("circuit closed", "fal/redux")]
