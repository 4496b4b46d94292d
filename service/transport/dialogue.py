"""A translator's side of a conversation, which can be taken back to an earlier point."""

from __future__ import annotations

from collections.abc import Callable

from service.core.calls import CallResult
from service.providers.base import Exchange
from service.providers.http import HttpRequest, HttpResponse


class Dialogue:
    """Drives one exchange at a time.

    A translator is a pure function of the answers that it is given. One that failed over an answer is therefore
    brought back to the request before it by giving a fresh exchange all answers but that one.

    Args:
        open_exchange: Begins a fresh exchange about the same call.
    """

    def __init__(self, open_exchange: Callable[[], Exchange]) -> None:
        self._open = open_exchange
        self._exchange = open_exchange()
        self._answers: list[HttpResponse] = []

    def begin(self) -> HttpRequest | CallResult:
        """The first request, or the result where none is needed. Raises as the translator."""
        return _advanced(self._exchange, None)

    def answer(self, response: HttpResponse) -> HttpRequest | CallResult:
        """The next request, or the result, after the answer to the latest request. Raises as the translator."""
        self._answers.append(response)
        return _advanced(self._exchange, response)

    def take_back_answer(self) -> HttpRequest | CallResult:
        """Forgets the latest answer; returns the request that it answered."""
        earlier = self._answers[:-1]
        step = self.start_over()
        for response in earlier:
            step = self.answer(response)
        return step

    def start_over(self) -> HttpRequest | CallResult:
        """Forgets every answer; returns the first request."""
        self.close()
        self._exchange, self._answers = self._open(), []
        return self.begin()

    def close(self) -> None:
        self._exchange.close()


def _advanced(exchange: Exchange, response: HttpResponse | None) -> HttpRequest | CallResult:
    try:
        return next(exchange) if response is None else exchange.send(response)
    except StopIteration as end:
        made: CallResult = end.value
        return made
