"""Drives a translator's conversation with canned answers, as the executor does with a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.core.calls import CallResult
from service.providers.base import Exchange
from service.providers.http import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True)
class Driven:
    """The end of a conversation: its requests in order, and its result or None where it wanted to go on."""

    requests: tuple[HttpRequest, ...]
    result: CallResult | None

    @property
    def finished(self) -> CallResult:
        assert self.result is not None, "the conversation wants more answers than there are"
        return self.result


def drive(exchange: Exchange, answers: Iterable[HttpResponse]) -> Driven:
    """Answers each request in turn, until the conversation ends or the answers do; what it raises passes through."""
    requests: list[HttpRequest] = []
    try:
        requests.append(next(exchange))
        for answer in answers:
            requests.append(exchange.send(answer))  # noqa: PERF401  # a comprehension would turn StopIteration over
    except StopIteration as end:
        return Driven(tuple(requests), end.value)
    exchange.close()
    return Driven(tuple(requests), None)
