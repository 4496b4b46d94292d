"""The one place that turns a failure into what callers see: gRPC status, details, HTTP status, JSON envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from imagevariations.v1 import image_variation_pb2 as pb

from service.core.errors import ErrorKind, GatewayError
from service.core.values import Attempt

ERROR_DOMAIN = "imagevariations.v1"
LONGEST_MESSAGE = 1500
# gRPC drops a whole answer whose metadata exceeds 8 KB, and percent-encodes the message there: one Chinese character
# takes nine bytes. The message is in it once so and, in base64, twice more.
MOST_MESSAGE_BYTES = 1800
# Of the details in their binary form, attempts included: those are what is left out where all is too much.
MOST_DETAILS_BYTES = 4000
MOST_ATTEMPTS = 16
_NOT_ENCODED = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")

ENVELOPE_HEADER = "x-error-envelope"
HTTP_STATUS_HEADER = "x-http-status"
RETRY_AFTER_HEADER = "retry-after"
SHOULD_RETRY_HEADER = "x-should-retry"
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
STATUS_DETAILS_HEADER = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Row:
    """The answer to one kind of failure: a row of the contract's error table."""

    grpc_code: grpc.StatusCode
    http_status: int
    type: str
    code: str


_INVALID = "invalid_request_error"

STATUS: Mapping[ErrorKind, Row] = {
    ErrorKind.INVALID_REQUEST: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, _INVALID, "invalid_request"),
    ErrorKind.REQUEST_TOO_LARGE: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, _INVALID, "request_too_large"),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Row(grpc.StatusCode.INVALID_ARGUMENT, 415, _INVALID, "unsupported_media_type"),
    ErrorKind.UNAUTHENTICATED: Row(grpc.StatusCode.UNAUTHENTICATED, 401, "authentication_error", "invalid_api_key"),
    ErrorKind.PERMISSION_DENIED: Row(grpc.StatusCode.PERMISSION_DENIED, 403, "permission_error", "permission_denied"),
    ErrorKind.BUDGET_EXCEEDED: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 402, "billing_error", "budget_exceeded"),
    ErrorKind.NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _INVALID, "not_found"),
    ErrorKind.KEY_REUSED: Row(grpc.StatusCode.ALREADY_EXISTS, 409, "idempotency_error", "idempotency_key_reused"),
    ErrorKind.RANGE_NOT_SATISFIABLE: Row(grpc.StatusCode.OUT_OF_RANGE, 416, _INVALID, "range_not_satisfiable"),
    ErrorKind.UNSUPPORTED: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, _INVALID, "unsupported_by_model"),
    ErrorKind.CONTENT_REJECTED: Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "content_policy_error", "content_rejected"),
    # Our credentials, not the caller's: UNAUTHENTICATED would mislead them.
    ErrorKind.UPSTREAM_AUTH: Row(grpc.StatusCode.UNAVAILABLE, 502, "api_error", "provider_authentication_failed"),
    ErrorKind.RATE_LIMITED: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "rate_limit_exceeded"),
    ErrorKind.UNAVAILABLE: Row(grpc.StatusCode.UNAVAILABLE, 503, "api_error", "provider_unavailable"),
    ErrorKind.TIMEOUT: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "timeout_error", "timeout"),
    # To callers a timeout is a timeout, whoever's clock it was.
    ErrorKind.DEADLINE_EXCEEDED: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "timeout_error", "timeout"),
    ErrorKind.BAD_RESPONSE: Row(grpc.StatusCode.UNAVAILABLE, 502, "api_error", "bad_provider_response"),
    ErrorKind.MODEL_GONE: Row(grpc.StatusCode.NOT_FOUND, 404, _INVALID, "model_not_found"),
    ErrorKind.TIME_SHARE_USED: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "timeout_error", "timeout"),
    ErrorKind.OUT_OF_RESOURCES: Row(grpc.StatusCode.UNAVAILABLE, 503, "api_error", "overloaded"),
    ErrorKind.CANCELLED: Row(grpc.StatusCode.CANCELLED, 499, "api_error", "cancelled"),
    ErrorKind.INTERNAL: Row(grpc.StatusCode.INTERNAL, 500, "api_error", "internal_error"),
}


_RETRY_AFTER_S = 1.0
# Failures that pass by themselves. The others would meet the same request again.
_PASSING = frozenset({ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE, ErrorKind.OUT_OF_RESOURCES})


def row_of(error: GatewayError) -> Row:
    """The row for a failure.

    Clients, meshes and proxies send again by themselves what ends with gRPC's UNAVAILABLE or HTTP's 503: work that may
    have been done, and billed, has neither.
    """
    row = STATUS[error.kind]
    if row.grpc_code is not grpc.StatusCode.UNAVAILABLE or not error.may_be_billed:
        return row
    return replace(row, grpc_code=grpc.StatusCode.UNKNOWN, http_status=502)


def retry_after_s(error: GatewayError) -> float | None:
    """When to try again; also where nobody said so, with the statuses whose callers look for it."""
    if error.retry_after_s is None and row_of(error).http_status in (429, 503):
        return _RETRY_AFTER_S
    return error.retry_after_s


def internal_error(request_id: str) -> GatewayError:
    """The error that the caller is told of a bug: nothing but the id to find it by in the log."""
    return GatewayError(ErrorKind.INTERNAL, f"Something went wrong on our side. The request id is {request_id}.")


def short_message(error: GatewayError) -> str:
    """The message as gRPC metadata can carry it."""
    text = _message(error)
    if len(quote(text, safe=_NOT_ENCODED)) <= MOST_MESSAGE_BYTES:
        return text
    size, kept = len(quote("…")), 0
    for character in text:
        size += len(quote(character, safe=_NOT_ENCODED))
        if size > MOST_MESSAGE_BYTES:
            break
        kept += 1
    return text[:kept] + "…"


def _message(error: GatewayError) -> str:
    """The message, not too long, and with nothing in it that has no UTF-8 form."""
    return error.message[:LONGEST_MESSAGE].encode("utf-8", "replace").decode("utf-8")


def error_fields(error: GatewayError) -> dict[str, str | None]:
    """OpenAI's error object for ``error``: message, type, code and param, the last None where no field is at fault."""
    row = STATUS[error.kind]
    return {
        "message": _message(error),
        "type": row.type,
        "code": error.code or row.code,
        "param": error.param or None,
    }


def should_retry(error: GatewayError) -> bool:
    """Whether the same request may succeed later, and surely has cost nothing so far."""
    return not error.may_be_billed and error.kind in _PASSING


def request_error(error: GatewayError, request_id: str) -> pb.RequestError:
    """Everything that callers are told of ``error``."""
    message = pb.RequestError(**error_facts(error, request_id))
    message.attempts.extend(attempt_message(attempt) for attempt in error.attempts)
    return message


def error_facts(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The fields of a RequestError but its attempts; None or empty where there is nothing to tell."""
    return {
        **error_fields(error),
        "http_status": row_of(error).http_status,
        "retry_after_ms": None if (wait_s := retry_after_s(error)) is None else round(wait_s * 1000),
        "should_retry": should_retry(error),
        "request_id": request_id,
    }


def attempt_message(attempt: Attempt) -> pb.Attempt:
    """One try as callers see it."""
    return pb.Attempt(
        provider=attempt.provider,
        model=attempt.model,
        key=attempt.key,
        latency=attempt.latency_ms,
        outcome=attempt.outcome,
        status=attempt.status,
    )


def trailers(error: GatewayError, *, transcoded: bool, request_id: str = "") -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that tells the whole of ``error``.

    Native gRPC clients get google.rpc details. Behind Envoy, which cannot express every HTTP status nor our
    JSON shape, the finished envelope and status travel as two headers that its Lua filter puts in their place.
    """
    row = row_of(error)
    again, wait_s = should_retry(error), retry_after_s(error)
    # The OpenAI SDKs obey it; by themselves they send again what had a 429 or 5xx.
    told: list[tuple[str, str | bytes]] = [(SHOULD_RETRY_HEADER, "true" if again else "false")]
    if wait_s is not None:
        # Whole seconds, rounded up: a client that waits this long must not be too early.
        told.append((RETRY_AFTER_HEADER, str(max(1, -int(-wait_s // 1)))))
    if transcoded:
        told.append((ENVELOPE_HEADER, json.dumps({"error": error_fields(error)}, ensure_ascii=True)))
        told.append((HTTP_STATUS_HEADER, str(row.http_status)))
    else:
        # The retry policies of gRPC's clients obey it, whatever the status (gRFC A6); -1: not again.
        told.append((PUSHBACK_TRAILER, str(round(1000 * (wait_s or 0.0))) if again else "-1"))
        told.append((STATUS_DETAILS_HEADER, _rich_status(error, row, request_id).SerializeToString()))
    return tuple(told)


def _rich_status(error: GatewayError, row: Row, request_id: str) -> status_pb2.Status:
    code, _ = row.grpc_code.value
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=(error.code or row.code).upper(),
            domain=ERROR_DOMAIN,
            metadata={
                "type": row.type,
                "http_status": str(row.http_status),
                "may_have_run": "true" if error.may_be_billed else "false",
                **_param(error),
            },
        )
    ]
    if error.param:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.param, description=short_message(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    wait_s = retry_after_s(error)
    if wait_s is not None and should_retry(error):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(wait_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code, message=short_message(error), details=[_packed(each) for each in details])
    whole = request_error(error, request_id)
    whole.ClearField("message")  # The status has it.
    del whole.attempts[:-MOST_ATTEMPTS]
    while whole.attempts and status.ByteSize() + whole.ByteSize() > MOST_DETAILS_BYTES:
        del whole.attempts[0]
    status.details.append(_packed(whole))
    return status


def _packed(detail: Message) -> any_pb2.Any:
    holder = any_pb2.Any()
    holder.Pack(detail)
    return holder


def _param(error: GatewayError) -> dict[str, str]:
    return {"param": error.param} if error.param else {}
