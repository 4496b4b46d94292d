"""The failure table covers every kind, and says what the design says."""

import pytest

from service.core.errors import ErrorKind
from service.routing.rules import RULES, RetrySame

# kind: retry the same target, retry a poll, next target, breaker counts
EXPECTED = {
    ErrorKind.UNSUPPORTED: (RetrySame.NO, False, True, False),
    ErrorKind.CONTENT_REJECTED: (RetrySame.NO, False, False, False),
    ErrorKind.UPSTREAM_AUTH: (RetrySame.OTHER_KEY, False, True, False),
    ErrorKind.RATE_LIMITED: (RetrySame.OTHER_KEY_OR_WAIT, True, True, False),
    ErrorKind.UNAVAILABLE: (RetrySame.AFTER_BACKOFF, True, True, True),
    ErrorKind.TIMEOUT: (RetrySame.NO, True, True, True),
    ErrorKind.BAD_RESPONSE: (RetrySame.NO, True, True, True),
    ErrorKind.MODEL_GONE: (RetrySame.NO, False, True, False),
    ErrorKind.TIME_SHARE_USED: (RetrySame.NO, False, True, False),
    ErrorKind.OUT_OF_RESOURCES: (RetrySame.AFTER_BACKOFF, True, True, False),
}


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_rule(kind):
    assert kind in RULES


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_no_target_is_to_blame_for_ends_the_route(kind):
    rule = RULES[kind]
    expected = EXPECTED.get(kind, (RetrySame.NO, False, False, False))
    assert (rule.retry_same, rule.retry_poll, rule.next_target, rule.breaker_counts) == expected


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        RULES[ErrorKind.TIMEOUT] = RULES[ErrorKind.UNAVAILABLE]  # type: ignore[index]  # what is refused here
