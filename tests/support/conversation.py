"""Drives a translator's conversation with canned answers."""

from __future__ import annotations

from service.providers.base import CallResult, Exchange, HttpRequest, HttpResponse


def converse(exchange: Exchange, *responses: HttpResponse) -> tuple[list[HttpRequest], CallResult]:
    """The requests made and the result.

    Raises:
        AssertionError: More requests were made than there are responses, or fewer.
        GatewayError: As the translator raises it.
    """
    requests: list[HttpRequest] = []
    waiting = iter(responses)
    try:
        request = next(exchange)
        while True:
            requests.append(request)
            response = next(waiting, None)
            assert response is not None, f"more than {len(responses)} requests: {request.method} {request.url}"
            request = exchange.send(response)
    except StopIteration as finished:
        assert len(requests) == len(responses), f"finished after {len(requests)} of {len(responses)} answers"
        result: CallResult = finished.value
        return requests, result
