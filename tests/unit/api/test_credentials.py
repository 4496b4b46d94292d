"""Which header holds the caller's credential."""

from __future__ import annotations

import pytest

from service.api.credentials import credential_in


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"authorization": "Bearer a"}, "a"),
        ({"authorization": "Basic a", "x-api-key": "b"}, "b"),
        ({"api-key": "azure's"}, "azure's"),
        ({"x-api-key": "b", "api-key": "c"}, "b"),
        ({"authorization": "Bearer a", "api-key": "sk-bf-1"}, "sk-bf-1"),
        ({"x-bf-vk": "v", "authorization": "Bearer sk-bf-1"}, "v"),
        ({}, ""),
    ],
)
def test_of_several_the_most_certain_counts(headers: dict[str, str], expected: str) -> None:
    assert credential_in(headers) == expected
