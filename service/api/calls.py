"""What every call has, whichever method it is: an id, a deadline, headers, one log line, one way to fail."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc

from service.api.cache_headers import PREFIX as CACHE_PREFIX
from service.api.credentials import Gate, credential_in
from service.api.status import STATUS, internal_error, short_message, trailers
from service.core.errors import ErrorKind, GatewayError, invalid
from service.governance.callers import ANYBODY, Caller, CallerKind
from service.governance.rates import LIMIT_HEADER

access_log = logging.getLogger("service.access")
_error_log = logging.getLogger("service.error")

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_SANE_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

# Web pages that this very machine serves, such as those of a development server.
_LOCAL_ORIGIN = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")

# Set by Envoy when it transcodes; it overwrites what a client sends under these names.
TRANSCODED_HEADER = "x-envoy-original-path"
HOST_HEADER = "x-forwarded-host"
SCHEME_HEADER = "x-forwarded-proto"

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-request-timeout-ms"
RAW_HEADER = "x-raw"

# Seconds kept back from the caller's deadline for the answer's way.
_ANSWER_S = 0.1

Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Call:
    """One call from its arrival to its answer.

    Attributes:
        begun: The event loop's time at which it arrived.
        deadline: The event loop's time at which its answer is of no more use.
        transcoded: Whether it came through Envoy's JSON side.
        base_url: Where the caller reached us, for links.
        credential: What the caller brought along, whatever it is worth. Empty: nothing.
        origin: The origin of the web page that called, where one did.
        cache_headers: Those of the request's headers that are about the cache.
        caller: Who that is, once it is known.
        headers: Response headers, sent with the answer whether it succeeds or fails.
        log: Further fields of its log line.
        outcome: ``success``, ``cancelled``, or the code of the error it was answered with.
    """

    id: str
    method: str
    begun: float
    deadline: float
    transcoded: bool
    base_url: str
    raw: bool
    credential: str = field(default="", repr=False)
    origin: str = ""
    cache_headers: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = ANYBODY
    headers: dict[str, str] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    outcome: str = "success"

    @property
    def work_deadline(self) -> float:
        """The deadline of the work: a little earlier, so that its answer is there before the caller's timer ends."""
        return self.deadline - min(_ANSWER_S, 0.1 * max(0.0, self.deadline - self.begun))

    def failed(self, error: GatewayError) -> None:
        """Notes the error that it is answered with, for the log line."""
        self.outcome = error.code or STATUS[error.kind].code
        self.log["error"] = error.kind.value


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What the operator decides about every call.

    Attributes:
        longest_s: Cap of a caller's deadline, and the deadline of those who set none, in seconds.
        base_url: Of links for callers that did not come through Envoy.
        foreign_origins: Whether web pages of other machines may call without a credential.
    """

    longest_s: float
    base_url: str
    foreign_origins: bool = True


class Calls:
    """Runs handlers, so that every method answers, fails and logs alike.

    Args:
        gate: Knows who is let in. None: everybody is.
    """

    def __init__(self, settings: CallSettings, gate: Gate | None = None) -> None:
        self._settings = settings
        self._gate = gate

    async def unary(self, method: str, context: Context, handler: Callable[[Call], Awaitable[Response]]) -> Response:
        """Answers with what ``handler`` returns, or with the status of the GatewayError it raises."""
        call, error = self._begin(method, context)
        with _logged(call):
            if error is None:
                try:
                    async with asyncio.timeout_at(call.deadline):
                        await self._admit(call)
                        response = await handler(call)
                    await self._tell_standing(call)
                    await context.send_initial_metadata(tuple(call.headers.items()))
                    return response
                except Exception as caught:
                    error = told(caught, call)
            return await self._fail(context, call, error)

    async def stream(
        self,
        method: str,
        context: Context,
        handler: Callable[[Call], AsyncGenerator[Response, None]],
        *,
        for_everybody: bool = False,
    ) -> AsyncGenerator[Response, None]:
        """Passes on what ``handler`` yields; headers go out with the first message, failures as a status.

        However this ends, the handler has ended before it.

        Args:
            for_everybody: Whether no credential is looked at.
        """
        call, error = self._begin(method, context)
        with _logged(call):
            if error is None:
                try:
                    if not for_everybody:
                        async with asyncio.timeout_at(call.deadline):
                            await self._admit(call)
                    async with contextlib.aclosing(handler(call)) as messages:
                        begun = False
                        # The time a caller takes to read is not the handler's, and must not be interrupted: the
                        # interruption would hit gRPC's own code, which then sends no status at all.
                        while (message := await _next(messages, call.deadline)) is not None:
                            if not begun:
                                await self._tell_standing(call)
                                await context.send_initial_metadata(tuple(call.headers.items()))
                                begun = True
                            yield message
                    return
                except Exception as caught:
                    error = told(caught, call)
            await self._fail(context, call, error)

    async def _admit(self, call: Call) -> None:
        """Finds out who is calling."""
        if self._gate is not None:
            call.caller = await self._gate.identify(call.credential)
        if call.caller.kind is CallerKind.ANYBODY and not self._settings.foreign_origins:
            _refuse_foreign(call.origin)
        if call.caller.name:
            call.log["caller"] = call.caller.name

    async def _tell_standing(self, call: Call) -> None:
        """Tells a caller with a request limit where it stands, also in answers that do not count against it."""
        if self._gate is not None and call.caller.rates and LIMIT_HEADER not in call.headers:
            standing = await self._gate.standing(call.caller)
            call.headers |= standing.headers() if standing else {}

    async def _fail(self, context: Context, call: Call, error: GatewayError) -> NoReturn:
        call.failed(error)
        await self._tell_standing(call)
        if error.kind is ErrorKind.UNAUTHENTICATED:
            call.headers["www-authenticate"] = "Bearer"
        # Initial metadata is left unsent: a trailers-only answer carries all of this as its headers.
        metadata = (*call.headers.items(), *trailers(error, transcoded=call.transcoded))
        await context.abort(STATUS[error.kind].grpc_code, short_message(error), metadata)
        raise AssertionError("abort() always raises")

    def _begin(self, method: str, context: Context) -> tuple[Call, GatewayError | None]:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        now = asyncio.get_running_loop().time()
        error: GatewayError | None = None
        budget = self._settings.longest_s
        remaining = context.time_remaining()
        if remaining is not None:
            budget = min(budget, max(0.0, remaining))
        try:
            budget = min(budget, _timeout_s(metadata.get(TIMEOUT_HEADER)) or budget)
        except GatewayError as caught:
            error = caught
        transcoded = TRANSCODED_HEADER in metadata
        request_id = _request_id(metadata.get(REQUEST_ID_HEADER, ""))
        call = Call(
            id=request_id,
            method=method,
            begun=now,
            deadline=now + budget,
            transcoded=transcoded,
            base_url=self._base_url(metadata),
            raw=metadata.get(RAW_HEADER, "").lower() == "true",
            credential=credential_in(metadata),
            origin=metadata.get("origin", ""),
            cache_headers={name: value for name, value in metadata.items() if name.startswith(CACHE_PREFIX)},
            headers={REQUEST_ID_HEADER: request_id, "x-cache": "off"},
        )
        return call, error

    def _base_url(self, metadata: Mapping[str, str]) -> str:
        host = metadata.get(HOST_HEADER, "")
        if not _SANE_HOST.fullmatch(host):
            return self._settings.base_url
        scheme = "https" if metadata.get(SCHEME_HEADER) == "https" else "http"
        return f"{scheme}://{host}"


def _refuse_foreign(origin: str) -> None:
    """Keeps web pages out where being on this machine is all the credential there is.

    A browser on it would send whatever a page of anybody's asks it to, with keys of ours to be spent.

    Raises:
        GatewayError: PERMISSION_DENIED for pages that do not come from this machine.
    """
    if origin and not _LOCAL_ORIGIN.fullmatch(origin):
        raise GatewayError(
            ErrorKind.PERMISSION_DENIED,
            f"Pages of {origin[:200]} may not use this gateway without a credential. Configure a key, or say "
            "allow_unauthenticated: true where anybody may use it.",
            code="origin_not_allowed",
            may_have_run=False,
        )


def hashed(text: str) -> str:
    """A short, stable stand-in for a caller's identifier, so that log lines can be grouped by it."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] if text else ""


def _request_id(given: str) -> str:
    return given if _SANE_REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise invalid(
            TIMEOUT_HEADER,
            f"The header {TIMEOUT_HEADER} must be a whole number of milliseconds from 1 to 999999999.",
            code="invalid_timeout",
        )
    return int(text) / 1000


def told(caught: Exception, call: Call) -> GatewayError:
    """What the caller is told of an exception. A bug goes to the log with everything, to the caller with its id."""
    if isinstance(caught, TimeoutError):
        return GatewayError(ErrorKind.DEADLINE_EXCEEDED, "The time allowed for this request ran out.")
    if isinstance(caught, GatewayError) and caught.kind is not ErrorKind.INTERNAL:
        return caught
    _error_log.error("a bug, request %s", call.id, exc_info=caught)
    code = caught.code if isinstance(caught, GatewayError) else ""
    return internal_error(call.id).replaced(code=code)


async def _next(messages: AsyncGenerator[Response, None], deadline: float) -> Response | None:
    """The next message, or None after the last."""
    async with asyncio.timeout_at(deadline):
        return await anext(messages, None)


@contextlib.contextmanager
def _logged(call: Call) -> Iterator[None]:
    """Writes the one log line of a call, however it ends."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        call.outcome = "cancelled"
        raise
    finally:
        milliseconds = round((asyncio.get_running_loop().time() - call.begun) * 1000)
        fields = {"id": call.id, "method": call.method, **call.log, "outcome": call.outcome}
        access_log.info("request", extra={"fields": {**fields, "milliseconds": milliseconds}})
