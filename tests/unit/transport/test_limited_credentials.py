"""Some of a provider's keys, for a caller who may not use all of them."""

from __future__ import annotations

import pytest

from service.core.errors import ErrorKind, GatewayError
from service.providers.base import Credential
from service.routing.keys import KeyRing
from service.transport.credentials import Credentials, WeightedCredential

MAIN, SECOND = Credential("main", "1"), Credential("second", "2")


@pytest.fixture
def whole() -> Credentials:
    return Credentials([WeightedCredential(MAIN), WeightedCredential(SECOND)])


def ring_of(credentials: Credentials) -> KeyRing:
    ring = credentials.ring
    assert ring is not None
    return ring


def chosen(credentials: Credentials, now: float) -> set[str]:
    """The names of the keys that any draw leads to."""
    return {ring_of(credentials).choose("m", now, draw / 10).name for draw in range(10)}


def test_only_those_are_chosen(whole: Credentials) -> None:
    some = whole.limited_to({"second"})
    assert chosen(some, 0.0) == {"second"}
    assert len(some) == 1
    assert "main" not in repr(some)


def test_what_one_caller_finds_out_about_a_key_holds_for_all(whole: Credentials) -> None:
    some = whole.limited_to({"second"})
    some.rest("second", 60.0, ErrorKind.RATE_LIMITED, 0.0)
    assert chosen(whole, 1.0) == {"main"}
    with pytest.raises(GatewayError) as caught:
        ring_of(whole.limited_to({"second"})).choose("m", 1.0, 0.5)
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.RATE_LIMITED, 59.0)


def test_names_that_are_gone_leave_no_key(whole: Credentials) -> None:
    with pytest.raises(GatewayError) as caught:
        ring_of(whole.limited_to({"retired"})).choose("m", 0.0, 0.5)
    assert caught.value.kind is ErrorKind.UPSTREAM_AUTH


def test_a_provider_without_keys_needs_none() -> None:
    assert Credentials([]).limited_to({"main"}).ring is None
