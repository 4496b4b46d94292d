"""One ASGI application that speaks for every vendor, each below its own path.

Besides the vendors: ``GET|DELETE /_log``, ``GET /_leaks``, ``PUT|DELETE /_switch/<vendor>`` and, below every
vendor, ``/_files/…`` for results handed over as URLs.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles import faults
from tests.doubles.framework import (
    CONTENT_FAILURES,
    STATUS_OF_FAILURE,
    Call,
    Failure,
    Form,
    Operation,
    Purpose,
    Recorded,
    RefusedError,
    Reply,
    UploadedFile,
    VendorDouble,
)
from tests.doubles.state import ResultFile, State, logged
from tests.doubles.switches import Switch, with_hint

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_LARGEST_FIELD = 100 * 1024 * 1024


def all_doubles() -> tuple[VendorDouble, ...]:
    """Every double in this package: what its modules list in ``DOUBLES``."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = (importlib.import_module(f"tests.doubles.{name}") for name in names if not name.startswith("_"))
    return tuple(double for module in modules for double in getattr(module, "DOUBLES", ()))


def application(state: State) -> Starlette:
    """The application. All its memory is in ``state``."""
    routes = [
        Route("/_log", partial(_log, state), methods=["GET", "DELETE"]),
        Route("/_leaks", partial(_leaks, state), methods=["GET"]),
        Route("/_switch/{vendor}", partial(_switch, state), methods=["PUT", "DELETE"]),
    ]
    for double in state.doubles.values():
        routes += _routes_of(double, state)
    return Starlette(routes=routes)


async def _log(state: State, request: Request) -> Response:
    if request.method == "DELETE":
        state.reset()
        return Response(status_code=204)
    return JSONResponse([logged(recorded) for recorded in state.requests()])


async def _leaks(state: State, request: Request) -> Response:
    return JSONResponse([asdict(leak) for leak in state.leaks])


async def _switch(state: State, request: Request) -> Response:
    vendor = request.path_params["vendor"]
    if request.method == "DELETE":
        state.switches.clear(vendor)
        return Response(status_code=204)
    try:
        values = await request.json()
        state.fail(vendor, values.pop("failure", Failure.OK), **values)
    except (ValueError, AttributeError, TypeError) as problem:
        return JSONResponse({"error": str(problem)}, status_code=400)
    return Response(status_code=204)


def _routes_of(double: VendorDouble, state: State) -> Iterable[Route]:
    prefix = f"/{double.name}"
    yield Route(f"{prefix}/_files/{{name}}", _FileEndpoint(double, state), methods=["GET"])
    for operation in double.operations:
        yield Route(prefix + operation.path, _Endpoint(double, operation, state), methods=[operation.method])
    nothing_here = Operation("", "", partial(_unknown_path, double), Purpose.ANY)
    yield Route(prefix + "/{rest:path}", _Endpoint(double, nothing_here, state), methods=_ALL_METHODS)


async def _unknown_path(double: VendorDouble, call: Call) -> Reply:
    return double.error(404, f"There is no {call.request.method} {call.request.path} here.")


class _Asgi:
    """An endpoint that answers with a Response, written as ASGI since faults need the connection itself."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self.respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Callable[..., Awaitable[None]]:
        raise NotImplementedError


class _FileEndpoint(_Asgi):
    def __init__(self, double: VendorDouble, state: State) -> None:
        self._double = double
        self._state = state

    async def respond(self, request: Request) -> Callable[..., Awaitable[None]]:
        recorded = await _recorded(request, self._double.name, self._state)
        self._state.record(recorded, is_file=True)
        switch = self._state.switches.take(self._double.name, model="", key="", purpose=Purpose.FILE)
        file = self._state.files.get(request.path_params["name"])
        if file is None or file.expired:
            reply = Reply(
                403 if file else 404, content=b"<Error><Code>AccessDenied</Code></Error>", media_type="text/xml"
            )
        elif switch.failure in STATUS_OF_FAILURE:
            reply = Reply(STATUS_OF_FAILURE[switch.failure], content=b"<Error/>", media_type="text/xml")
        else:
            reply = Reply(content=file.data, media_type=file.media_type)
        return await faults.response(reply, switch, request)


class _Endpoint(_Asgi):
    def __init__(self, double: VendorDouble, operation: Operation, state: State) -> None:
        self._double = double
        self._operation = operation
        self._state = state

    async def respond(self, request: Request) -> Callable[..., Awaitable[None]]:
        double = self._double
        recorded = await _recorded(request, double.name, self._state)
        self._state.record(recorded, is_file=False)
        key = double.authenticate(recorded)
        model = double.model_of(recorded, request.path_params)
        switch = self._state.switches.take(double.name, model=model, key=key, purpose=self._operation.purpose)
        if switch.failure in faults.BEFORE_WORK:
            await faults.wait_or_reset(switch, request)
            if switch.failure is Failure.HANG:
                self._state.abandoned.append(recorded)
        reply = await self._reply(recorded, request, key, switch)
        return await faults.response(reply, switch, request)

    async def _reply(self, recorded: Recorded, request: Request, key: str, switch: Switch) -> Reply:
        double = self._double
        if switch.failure in STATUS_OF_FAILURE:
            status = STATUS_OF_FAILURE[switch.failure]
            return with_hint(double.error(status, ""), switch)
        if key not in double.accepted_keys:
            return double.error(401, "")
        base_url = f"{request.base_url}".rstrip("/") + f"/{double.name}"
        call = Call(
            request=recorded,
            params=request.path_params,
            key=key,
            failure=switch.failure if switch.failure in CONTENT_FAILURES else Failure.OK,
            base_url=base_url,
            jobs=self._state.jobs[double.name],
            publish=partial(self._publish, base_url, switch.failure is Failure.EXPIRED_URL),
            new_id=self._state.new_id,
        )
        try:
            return await self._operation.handler(call)
        except RefusedError as refused:
            return refused.reply

    def _publish(self, base_url: str, expired: bool, data: bytes, media_type: str) -> str:
        name = f"{self._state.new_id()}.{media_type.rpartition('/')[2]}"
        self._state.files[name] = ResultFile(data, media_type, expired)
        return f"{base_url}/_files/{name}"


async def _recorded(request: Request, vendor: str, state: State) -> Recorded:
    order = state.next_order()
    body = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    parsed: Any = None
    form: Form | None = None
    if media_type.endswith(("/json", "+json")):
        try:
            parsed = await asyncio.to_thread(json.loads, body)
        except (ValueError, RecursionError):
            parsed = None
    elif media_type == "multipart/form-data":
        form = await _form(request)
    return Recorded(
        order=order,
        vendor=vendor,
        method=request.method,
        path=request.url.path.removeprefix(f"/{vendor}"),
        query=dict(request.query_params),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        json=parsed,
        form=form,
    )


# In memory, however large: a file on disk would be left open by a client that goes away in the middle of it.
MultiPartParser.spool_max_size = 1 << 30


async def _form(request: Request) -> Form | None:
    fields: list[tuple[str, str]] = []
    files: list[UploadedFile] = []
    try:
        async with request.form(max_part_size=_LARGEST_FIELD) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    data = await value.read()
                    files.append(UploadedFile(name, value.filename or "", value.content_type or "", data))
                else:
                    fields.append((name, value))
    except HTTPException:  # What Starlette makes of a malformed form inside an application.
        return None
    return Form(tuple(fields), tuple(files))
