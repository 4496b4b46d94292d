"""What becomes of a provider's words before a caller sees them."""

from __future__ import annotations

import pytest

from service.providers import wire


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
        ("half a pair: \ud83d!", "half a pair: ?!"),
    ],
)
def test_keys_are_masked_and_the_rest_is_kept_on_one_line(said: str, shown: str) -> None:
    assert wire.excerpt(said) == shown


@pytest.mark.parametrize("length", [300, 301, 10_000, 1_000_000])
def test_long_texts_are_cut(length: int) -> None:
    assert len(wire.excerpt("x" * length)) == 300
