"""Treatment of a provider's words before a caller sees them."""

from __future__ import annotations

import pytest

from service.core.errors import GatewayError
from service.providers import wire
from service.providers.http import HttpResponse


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Incorrect API key provided: sk-proj-4Bc9dE7f. See https://x.test/keys.",
            "Incorrect API key provided: ***. See https://x.test/keys.",
        ),
        ("Incorrect API key provided: fake_key. You can", "Incorrect API key provided: ***. You can"),
        ("unknown token: 0123456789abcdef", "unknown token: ***"),
        ("Authorization was 'Bearer eyJhbGciOi.J9.e30='", "Authorization was 'Bearer ***'"),
        ("Cannot access with Key 0b5c11e2-aaaa:9f8e7d6c5b4a", "Cannot access with Key ***"),
        ("r8_abcdefghijklmnop is disabled", "*** is disabled"),
        ("fal-ai/flux-1/dev/redux is down", "fal-ai/flux-1/dev/redux is down"),
        ("Your API key must be a management key", "Your API key must be a management key"),
        ("The bearer token is missing", "The bearer token is missing"),
        ("several\n  lines\tof\u2028text", "several lines of text"),
    ],
)
def test_keys_are_masked_and_the_rest_is_kept_on_one_line(said: str, shown: str) -> None:
    assert wire.excerpt(said) == shown


@pytest.mark.parametrize("length", [300, 301, 10_000, 1_000_000])
def test_long_texts_are_cut(length: int) -> None:
    assert len(wire.excerpt("x" * length)) == 300


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'{"text": "half a pair: \ud83d!"}', "half a pair: ?!"),
        (rb'{"text": "the other half: \uDE00!"}', "the other half: ?!"),
        (rb'{"text": "a pair: \ud83d\ude00"}', "a pair: \U0001f600"),
        ('{"text": "a pair: \U0001f600"}'.encode(), "a pair: \U0001f600"),
        (b'{"text": "\xed\xa0\x80"}', None),
    ],
)
def test_no_half_of_a_surrogate_pair_gets_out_of_an_answer(body: bytes, text: str | None) -> None:
    if text is None:
        with pytest.raises(GatewayError):
            wire.json_object(HttpResponse(200, {}, body))
        assert wire.lenient_json(HttpResponse(400, {}, body)) is None
    else:
        assert wire.json_object(HttpResponse(200, {}, body)) == {"text": text}
        assert wire.lenient_json(HttpResponse(400, {}, body)) == {"text": text}
