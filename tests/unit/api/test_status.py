"""Failures as callers see them."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from imagevariations.v1 import image_variation_pb2 as pb

from service.api.status import STATUS, error_fields, internal_error, row_of, short_message, trailers
from service.core.errors import ErrorKind, GatewayError, invalid
from service.core.values import Attempt
from service.routing.rules import RULES

TYPE_OF_HTTP_STATUS = {
    400: {"invalid_request_error", "content_policy_error"},
    401: {"authentication_error"},
    402: {"billing_error"},
    403: {"permission_error"},
    404: {"invalid_request_error"},
    409: {"idempotency_error"},
    413: {"invalid_request_error"},
    415: {"invalid_request_error"},
    416: {"invalid_request_error"},
    429: {"rate_limit_error"},
    499: {"api_error"},
    500: {"api_error"},
    502: {"api_error"},
    503: {"api_error"},
    504: {"timeout_error"},
}


def details(error: GatewayError) -> dict[str, Any]:
    found = dict(trailers(error, transcoded=False, request_id="req_1"))
    status = status_pb2.Status.FromString(found["grpc-status-details-bin"])
    unpacked: dict[str, Any] = {"status": status}
    for detail in status.details:
        for message in (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
            pb.RequestError(),
        ):
            if detail.Unpack(message):
                unpacked[type(message).__name__] = message
    return unpacked


@pytest.mark.parametrize("kind", ErrorKind)
def test_no_kind_is_missing_from_a_table(kind: ErrorKind) -> None:
    row = STATUS[kind]
    assert kind in RULES
    assert row.grpc_code is not grpc.StatusCode.OK
    assert row.type in TYPE_OF_HTTP_STATUS[row.http_status]
    assert row.code


def test_the_tables_have_no_rows_of_their_own() -> None:
    assert set(STATUS) == set(RULES) == set(ErrorKind)


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_can_be_told_in_both_ways(kind: ErrorKind) -> None:
    error = GatewayError(kind, "It went wrong.", retry_after_s=1.2)
    through_envoy = dict(trailers(error, transcoded=True))
    assert json.loads(through_envoy["x-error-envelope"])["error"]["message"] == "It went wrong."
    assert through_envoy["x-http-status"] == str(row_of(error).http_status)
    assert details(error)["ErrorInfo"].domain == "imagevariations.v1"


def test_the_envelope_is_openais() -> None:
    assert error_fields(invalid("n", "n is wrong.")) == {
        "message": "n is wrong.",
        "type": "invalid_request_error",
        "code": "invalid_n",
        "param": "n",
    }


def test_native_clients_get_the_field_and_when_to_try_again() -> None:
    error = GatewayError(ErrorKind.RATE_LIMITED, "Slow down.", param="model", retry_after_s=1.25, may_have_run=False)
    told = details(error)
    assert told["status"].code == 8
    assert told["ErrorInfo"].reason == "RATE_LIMIT_EXCEEDED"
    assert dict(told["ErrorInfo"].metadata) == {
        "type": "rate_limit_error",
        "http_status": "429",
        "may_have_run": "false",
        "param": "model",
    }
    assert told["BadRequest"].field_violations[0].field == "model"
    assert told["RetryInfo"].retry_delay.ToMilliseconds() == 1250


def test_native_clients_get_the_attempts() -> None:
    attempts = [Attempt("fal", "x", "main", 12, "rate_limited", 429), Attempt("openai", "y", "k", 900, "timeout")]
    told = details(GatewayError(ErrorKind.UNAVAILABLE, "All failed.", attempts=attempts))["RequestError"]
    assert [(each.provider, each.outcome) for each in told.attempts] == [("fal", "rate_limited"), ("openai", "timeout")]
    assert (told.request_id, told.http_status, told.code) == ("req_1", 502, "provider_unavailable")
    assert told.message == "", "the status has it"


@pytest.mark.parametrize("kind", ErrorKind)
def test_nobody_is_told_to_repeat_what_may_have_been_paid_for(kind: ErrorKind) -> None:
    assert not details(GatewayError(kind, "It went wrong.", may_have_run=True))["RequestError"].should_retry


@pytest.mark.parametrize(("kind", "again"), [(ErrorKind.RATE_LIMITED, True), (ErrorKind.INVALID_REQUEST, False)])
def test_what_cost_nothing_may_be_repeated_where_that_can_help(kind: ErrorKind, again: bool) -> None:
    assert details(GatewayError(kind, "No.", may_have_run=False))["RequestError"].should_retry is again


def test_of_very_many_attempts_the_last_are_told() -> None:
    attempts = [Attempt("p" * 60, "m" * 256, "k", number, "timeout") for number in range(100)]
    error = GatewayError(ErrorKind.TIMEOUT, "x" * 1500, param="model", attempts=attempts)
    told = details(error)["RequestError"].attempts
    assert [each.latency for each in told] == list(range(100 - len(told), 100))
    assert sum(len(value) * 4 / 3 for _, value in trailers(error, transcoded=False)) < 6_000


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (86_400.0, "86400")])
def test_retry_after_is_whole_seconds_and_never_too_early(seconds: float, header: str) -> None:
    error = GatewayError(ErrorKind.RATE_LIMITED, "Slow down.", retry_after_s=seconds)
    assert dict(trailers(error, transcoded=True))["retry-after"] == header


def test_without_a_hint_there_is_no_retry_after() -> None:
    assert "retry-after" not in dict(trailers(GatewayError(ErrorKind.UNAVAILABLE, "Down."), transcoded=True))


@pytest.mark.parametrize("character", ["x", "ä", "中", "🙂", "%", "\n", "\ud800"])
def test_nothing_outgrows_what_headers_may_hold(character: str) -> None:
    """gRPC takes 8 KB of metadata by default, Envoy 60 KB."""
    error = GatewayError(ErrorKind.INVALID_REQUEST, character * 100_000, param="prompt")
    assert len(short_message(error).encode()) <= 1800
    assert sum(len(value) * 4 / 3 for _, value in trailers(error, transcoded=False)) < 6_000
    through_envoy = trailers(error, transcoded=True)
    assert sum(len(value) for _, value in through_envoy) < 30_000
    assert all(value.isascii() and "\n" not in value for _, value in through_envoy if isinstance(value, str))


def test_a_short_message_is_left_as_it_is() -> None:
    assert short_message(GatewayError(ErrorKind.TIMEOUT, "Zu spät: 100 %.")) == "Zu spät: 100 %."


def test_a_bug_is_told_by_its_id_alone() -> None:
    assert internal_error("r-1").message == "Something went wrong on our side. The request id is r-1."


PAID = GatewayError(ErrorKind.UNAVAILABLE, "It broke off.")
UNPAID = GatewayError(ErrorKind.UNAVAILABLE, "It was not reached.", may_have_run=False)


def test_what_may_have_been_paid_for_has_no_status_that_proxies_send_again() -> None:
    for kind in ErrorKind:
        row = row_of(GatewayError(kind, "It went wrong.", may_have_run=True))
        assert row.http_status != 503
        assert row.grpc_code is not grpc.StatusCode.UNAVAILABLE
    assert (row_of(UNPAID).http_status, row_of(UNPAID).grpc_code) == (503, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(("error", "header", "pushback"), [(PAID, "false", "-1"), (UNPAID, "true", "1000")])
def test_every_failure_says_whether_to_send_it_again(error: GatewayError, header: str, pushback: str) -> None:
    assert dict(trailers(error, transcoded=True))["x-should-retry"] == header
    assert dict(trailers(error, transcoded=False))["grpc-retry-pushback-ms"] == pushback
    assert details(error)["ErrorInfo"].metadata["may_have_run"] == ("true" if error is PAID else "false")
    assert ("RetryInfo" in details(error)) is (error is UNPAID)


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_429_and_503_says_when(kind: ErrorKind) -> None:
    error = GatewayError(kind, "No.", may_have_run=False)
    told = dict(trailers(error, transcoded=True))
    assert ("retry-after" in told) is (told["x-http-status"] in ("429", "503"))


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("may_have_run", [True, False])
@pytest.mark.parametrize("transcoded", [True, False])
def test_every_429_and_503_says_when_to_come_back(kind: ErrorKind, *, may_have_run: bool, transcoded: bool) -> None:
    error = GatewayError(kind, "It went wrong.", may_have_run=may_have_run)
    told = dict(trailers(error, transcoded=transcoded))
    if row_of(error).http_status in (429, 503):
        assert int(told["retry-after"]) >= 1
    else:
        assert "retry-after" not in told
