"""Whether a failed request to a provider is repeated, when, and with which key: one pure state machine.

One ``RetryState`` is the state of one conversation with one provider about one call. Time, chance and the keys at rest
are arguments; the transport does what it is told and changes nothing by itself.

A conversation is a row of requests, each STARTING work (it may be billed) or ASKING about work under way (it costs
nothing). A failure meets one of four situations:

====================  ==========================================  ==================================================
situation             the failure                                 what may follow
====================  ==========================================  ==================================================
starting, unanswered  no 2xx: network, status, key, time          the same request again, by the rules of starting
starting, answered    the 2xx says that the work failed           the whole conversation again, by the same rules
asking, unanswered    no 2xx                                      the same question again, by the rules of asking
asking, answered      BAD_RESPONSE: the answer makes no sense     the same question again, by the rules of asking
asking, answered      any other: the work itself failed           the whole conversation again, by those of starting
====================  ==========================================  ==================================================

**Starting again.** Only what surely did not run, or is free, is ever started again. How: ``RULES[kind].retry_same``.

- OTHER_KEY, OTHER_KEY_OR_WAIT: with a key that this conversation has not tried, at once. Once a request was taken on,
  no other key will do: the work may belong to another account.
- OTHER_KEY_OR_WAIT, when every key is used up: after the first of them is back (any key will do then), or after the
  backoff where none is at rest.
- AFTER_BACKOFF: with the same key, after the backoff.

A wait counts as a retry, of which there are ``max_retries``, and none is longer than ``max_retry_wait_s`` or than the
time left. Each start is an attempt of its own, with its own time limit.

**Asking again.** The work behind a question is paid for, so questions bear more: ``max_poll_failures`` in a row, for
the kinds with ``retry_poll``, always with the key that started the work, as long as the attempt has time.

**Keys at rest.** A refused key (401, 402: for all models; 403: for this one) rests a second, twice as long with each
further refusal, and at most ``refused_key_rest_s``; a rate-limited one rests, for this model, as long as the next
backoff.

**Time.** Three instants end an attempt; the first of them names the error: the caller's deadline (DEADLINE_EXCEEDED),
the end of the target's share of it (TIME_SHARE_USED), the provider's own limit (TIMEOUT, which counts against it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Self

from service.core.errors import ErrorKind, GatewayError
from service.routing.backoff import Backoff
from service.routing.hints import with_retry_hint
from service.routing.keys import KeyRing
from service.routing.rules import RULES, RetrySame

# Timers may end a moment early; a key must not be at rest any more when its rest has been waited for.
_TIMER_SLACK_S = 0.002
# A link that is dead stays dead, but a new one may need a moment until it works everywhere.
_MOST_REPEATS_OF_A_DEAD_LINK = 1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The timeouts and retries for one provider. Making images takes minutes.

    Attributes:
        attempt_timeout_s: Seconds for one attempt: the request that starts the work, all polling for it, and the
            download of its results.
        max_retries: Most times that a request which surely did not run (or is free) is repeated after a wait.
            Trying the other keys comes on top of it, each once.
        max_retry_wait_s: Longest wait before such a retry; a longer one is left to the caller or the next target.
        max_polls: Most polls in one conversation.
        max_poll_failures: Most times in a row that one poll or download is repeated: the work behind it is paid for.
        refused_key_rest_s: Most seconds for which a key that the provider refused (401, 402, 403) is not used.
    """

    attempt_timeout_s: float = 300.0
    max_retries: int = 2
    max_retry_wait_s: float = 30.0
    max_polls: int = 1000
    max_poll_failures: int = 5
    refused_key_rest_s: float = 300.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        for name in ("attempt_timeout_s", "max_polls"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a number above 0, not {getattr(self, name)}")
        for name in ("max_retries", "max_retry_wait_s", "max_poll_failures", "refused_key_rest_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {getattr(self, name)}")


class Phase(Enum):
    """The purpose of the latest request."""

    STARTING = "starting"
    ASKING = "asking"


class Repeat(Enum):
    """The scope of a repeat: one request, or the conversation from its first request."""

    REQUEST = "request"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True)
class KeyRest:
    """A key that is to be left alone until that instant, for one model or (empty) for all."""

    name: str
    until: float
    reason: ErrorKind
    model: str


@dataclass(frozen=True, slots=True)
class Again:
    """Repeat, after a wait.

    Attributes:
        state: The state to go on with; an attempt of its own begins once ``RetryState.resumed`` is called.
        wait: Seconds to wait first.
        key: The name of the key to use; empty: whichever can be had after the wait.
        ends_attempt: Whether the failure ended an attempt, which is then recorded.
        rest: The key to be left alone from now on, if any.
    """

    state: RetryState
    wait: float
    key: str
    repeat: Repeat
    ends_attempt: bool
    rest: KeyRest | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not repeat: ``error`` is the call's. ``rest`` as in ``Again``."""

    error: GatewayError
    rest: KeyRest | None = None


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until an attempt must end, and the kind of error if it has not ended by then."""

    seconds: float
    then: ErrorKind

    def error(self, *, may_have_run: bool) -> GatewayError:
        """The failure of an attempt that reached this end."""
        return GatewayError(self.then, OUT_OF_TIME[self.then], may_have_run=may_have_run)


OUT_OF_TIME: Mapping[ErrorKind, str] = MappingProxyType(
    {
        ErrorKind.TIMEOUT: "The provider did not answer in time.",
        ErrorKind.DEADLINE_EXCEEDED: "The request's time ran out before the provider answered.",
        ErrorKind.TIME_SHARE_USED: "The provider did not answer within its share of the request's time.",
    }
)
"""The kinds of failure that an attempt ends with for want of time, and how each is told."""


@dataclass(frozen=True, slots=True)
class RetryState:
    """The state of one conversation. Immutable; all instants are of one monotonic clock, in seconds.

    Attributes:
        model: The model asked for: rests of keys may be about it alone.
        deadline: When the caller stops waiting.
        turn_ends: When this target's share of the caller's time ends; infinite where it has all of it.
        free: Whether doing the work twice costs nothing.
        began: When the current attempt began.
        phase: The purpose of the latest request.
        answered: Whether the latest request was answered with a 2xx.
        accepted: Whether the provider has taken on work in this attempt.
        key: The name of the key in use; empty while none is chosen.
        tried: The names of all keys used so far.
        retries: Waits before starting again so far.
        polls: Questions so far, repeats not counted.
        poll_failures: How often in a row the latest question has failed.
    """

    policy: RetryPolicy
    model: str
    deadline: float
    began: float
    turn_ends: float = math.inf
    free: bool = False
    phase: Phase = Phase.STARTING
    answered: bool = False
    accepted: bool = False
    key: str = ""
    tried: frozenset[str] = frozenset()
    retries: int = 0
    polls: int = 0
    poll_failures: int = 0

    # Events

    def keyed(self, keys: KeyRing | None, now: float, draw: float) -> Self:
        """A request is about to be sent: the state with a key in use.

        Args:
            keys: None where the provider is asked without a key.

        Raises:
            GatewayError: As ``KeyRing.choose``.
        """
        if self.key or keys is None:
            return self
        return self._using(keys.choose(self.model, now, draw).name)

    def starting(self) -> Self:
        """A request that starts work is next."""
        return replace(self, phase=Phase.STARTING, answered=False)

    def asking(self, delay_s: float, now: float) -> tuple[Self, float]:
        """A question about work under way is next: the new state, and the seconds to wait before it is sent.

        Args:
            delay_s: The wait that the wire format wants; it ends with the attempt's time.

        Raises:
            GatewayError: TIMEOUT: there were as many questions as there may be.
        """
        if self.polls >= self.policy.max_polls:
            raise GatewayError(ErrorKind.TIMEOUT, f"The provider was not done after {self.polls} polls.")
        state = replace(self, phase=Phase.ASKING, answered=False, polls=self.polls + 1, poll_failures=0)
        return state, max(0.0, min(delay_s, self.time_left(now).seconds))

    def was_answered(self) -> Self:
        """The latest request was answered with a 2xx; whether that makes sense is not known yet."""
        return replace(self, answered=True, accepted=self.accepted or self.phase is Phase.STARTING)

    def after(self, error: GatewayError, now: float, *, draw: float, keys: KeyRing | None) -> Again | GiveUp:
        """The latest request, or the reading of its answer, has failed.

        Args:
            draw: Uniform in [0, 1): spreads waits and chooses among keys.
            keys: The provider's keys, with those at rest; None where it is asked without one.
        """
        if self.asks_again_after(error):
            return self._ask_again(error, now, draw, keys)
        return self._start_again(error, now, draw, keys)

    def resumed(self, again: Again, now: float) -> Self:
        """The wait that ``again`` asked for is over."""
        state = replace(self, began=now) if again.ends_attempt else self
        return replace(state, answered=False)

    # Decisions

    def asks_again_after(self, error: GatewayError) -> bool:
        """Whether the failure is of a question, so that the work behind it goes on at the provider."""
        return self.phase is Phase.ASKING and (not self.answered or error.kind is ErrorKind.BAD_RESPONSE)

    def time_left(self, now: float) -> TimeLeft:
        """Until when the current attempt may go on, and what ends it."""
        ends = (
            TimeLeft(self.deadline - now, ErrorKind.DEADLINE_EXCEEDED),
            TimeLeft(self.turn_ends - now, ErrorKind.TIME_SHARE_USED),
            TimeLeft(self.began + self.policy.attempt_timeout_s - now, ErrorKind.TIMEOUT),
        )
        return min(ends, key=lambda end: end.seconds)

    # The transitions

    def _ask_again(self, error: GatewayError, now: float, draw: float, keys: KeyRing | None) -> Again | GiveUp:
        policy = self.policy
        delay = policy.backoff.delay_s(self.poll_failures, draw, error.retry_after_s)
        rest = self._rest(error, delay, now, keys)
        allowed = RULES[error.kind].retry_poll and self.poll_failures < policy.max_poll_failures
        if not allowed or delay >= self.time_left(now).seconds:
            return GiveUp(self._hinted(error), rest)
        state = replace(self, poll_failures=self.poll_failures + 1)
        return Again(state, delay, self.key, Repeat.REQUEST, ends_attempt=False, rest=rest)

    def _start_again(self, error: GatewayError, now: float, draw: float, keys: KeyRing | None) -> Again | GiveUp:
        rule = RULES[error.kind].retry_same
        delay = self.policy.backoff.delay_s(self.retries, draw, error.retry_after_s)
        rest = self._rest(error, delay, now, keys)
        if rule is RetrySame.NO or (error.may_have_run and not self.free):
            return GiveUp(self._hinted(error), rest)
        key = self.key
        if rule is not RetrySame.AFTER_BACKOFF and not self.accepted and keys is not None:
            rested = keys.rested(rest.name, rest.until, rest.reason, now, rest.model) if rest else keys
            try:
                other = rested.choose(self.model, now, draw, self.tried).name
            except GatewayError as none_left:
                if none_left.kind is ErrorKind.RATE_LIMITED:
                    key, delay = "", (none_left.retry_after_s or 0.0) + _TIMER_SLACK_S
            else:
                return self._started_again(0.0, other, rest)
        waits_too_long = delay > self.policy.max_retry_wait_s or delay >= min(self.deadline, self.turn_ends) - now
        if rule is RetrySame.OTHER_KEY or self.retries >= self.policy.max_retries or waits_too_long:
            return GiveUp(self._hinted(error), rest)
        return replace(self, retries=self.retries + 1)._started_again(delay, key, rest)

    def _started_again(self, wait: float, key: str, rest: KeyRest | None) -> Again:
        repeat = Repeat.CONVERSATION if self.answered else Repeat.REQUEST
        accepted = self.accepted and repeat is Repeat.REQUEST
        state = replace(self._using(key), accepted=accepted, phase=Phase.STARTING)
        return Again(state, wait, key, repeat, ends_attempt=True, rest=rest)

    def _using(self, key: str) -> Self:
        return replace(self, key=key, tried=self.tried | {key} if key else self.tried)

    def _rest(self, error: GatewayError, delay: float, now: float, keys: KeyRing | None) -> KeyRest | None:
        """The rest that the key in use is due: a 403 and a 429 speak of this model only."""
        if not self.key or keys is None:
            return None
        if error.kind is ErrorKind.UPSTREAM_AUTH:
            model = self.model if error.upstream_status == 403 else ""
            rest_s = keys.refused_rest_s(self.key, model, self.policy.refused_key_rest_s)
            return KeyRest(self.key, now + rest_s, error.kind, model)
        if error.kind is ErrorKind.RATE_LIMITED:
            return KeyRest(self.key, now + delay, error.kind, self.model)
        return None

    def _hinted(self, error: GatewayError) -> GatewayError:
        """The error with a hint when to try again, the wait that we would make ourselves, where it has none."""
        return with_retry_hint(error, self.policy.backoff.longest_s(self.retries))


@dataclass(frozen=True, slots=True)
class DownloadState:
    """The state of the download of one result.

    A result is paid for, so a download that fails for a passing reason (UNAVAILABLE: the server is busy, the
    connection broke) is repeated as often as a poll; any other failure speaks of a dead link, which is tried twice.

    Attributes:
        ends_at: When the attempt that the result belongs to must end.
        failures: How often it has failed so far.
    """

    policy: RetryPolicy
    ends_at: float
    failures: int = 0

    def after(self, error: GatewayError, now: float, *, draw: float) -> tuple[DownloadState, float] | None:
        """The state after a failure and the seconds to wait before another try; None when there is to be none."""
        most = self.policy.max_poll_failures
        if error.kind is not ErrorKind.UNAVAILABLE:
            most = min(most, _MOST_REPEATS_OF_A_DEAD_LINK)
        delay = self.policy.backoff.delay_s(self.failures, draw, error.retry_after_s)
        if self.failures >= most or delay >= self.ends_at - now:
            return None
        return replace(self, failures=self.failures + 1), delay
