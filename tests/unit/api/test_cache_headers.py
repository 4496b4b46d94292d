"""The cache's headers: what they mean, and that a bad one is named rather than ignored."""

from __future__ import annotations

import pytest

from service.api.cache_headers import cache_directives
from service.cache.cache import Lookup
from service.core.errors import ErrorKind, GatewayError
from service.gateway.cache_step.terms import CacheDirectives


def test_nothing_said_means_nothing_special() -> None:
    assert cache_directives({}) == cache_directives({"x-raw": "true"}) == CacheDirectives()


def test_everything_can_be_said() -> None:
    wishes = cache_directives(
        {
            "x-bf-cache-key": "session-12.a_b~c",
            "x-bf-cache-ttl": "90s",
            "x-bf-cache-type": "semantic",
            "x-bf-cache-threshold": "0.9",
            "x-bf-cache-no-store": "true",
        }
    )
    assert wishes == CacheDirectives("session-12.a_b~c", 90.0, Lookup.SEMANTIC, 0.9, no_store=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1), ("300", 300), ("500ms", 0.5), ("90s", 90), ("5m", 300), ("12h", 43_200), ("7d", 604_800)],
)
def test_times_to_live(text: str, seconds: float) -> None:
    assert cache_directives({"x-bf-cache-ttl": text}).ttl_s == seconds


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("1.0", 1.0), ("0.5", 0.5), (".8", 0.8), ("0.765", 0.765)])
def test_thresholds(text: str, value: float) -> None:
    assert cache_directives({"x-bf-cache-threshold": text}).threshold == value


@pytest.mark.parametrize(("text", "value"), [("true", True), ("TRUE", True), ("false", False), ("False", False)])
def test_no_store(text: str, value: bool) -> None:
    assert cache_directives({"x-bf-cache-no-store": text}).no_store is value


@pytest.mark.parametrize(
    ("header", "text"),
    [
        *(("x-bf-cache-key", text) for text in ("", "a b", "a/b", "ä", "a" * 129, "a\n", "%41", ".", "..")),
        *(("x-bf-cache-ttl", text) for text in ("", "0", "-1", "1.5", "1e3", "5 m", "5w", "1m30s", "٣", "9" * 10)),
        *(("x-bf-cache-type", text) for text in ("", "both", "Direct", "direct,semantic")),
        *(
            ("x-bf-cache-threshold", text)
            for text in ("", "0", "0.49", "1.1", "nan", "inf", "80%", "1e-1", "0,8", "-1")
        ),
        *(("x-bf-cache-no-store", text) for text in ("", "1", "yes", "tru")),
    ],
)
def test_what_cannot_be_understood_is_an_error_that_names_the_header(header: str, text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        cache_directives({header: text})
    assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "invalid_header")
    assert caught.value.param == header
    assert header in caught.value.message
