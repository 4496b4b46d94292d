"""Requests that are read when they are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import grpc
import pytest
from fake_backends import FakeBackend, directory, provider
from google.api import httpbody_pb2

from service.api.unread import Unread
from service.core.errors import ErrorKind, GatewayError

Serving = Callable[..., contextlib.AbstractAsyncContextManager[grpc.aio.Channel]]

FORM_METHOD = "/imagevariations.v1.ImageVariationRestService/CreateImageVariationFromBody"


def test_the_message_is_what_was_sent() -> None:
    sent = httpbody_pb2.HttpBody(content_type="text/plain", data=b"x")
    raw = sent.SerializeToString()
    unread = Unread(raw, httpbody_pb2.HttpBody.FromString)
    assert unread.size == len(raw)
    assert unread.read() == sent


def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    unread = Unread(b"\xff\xff\xff", httpbody_pb2.HttpBody.FromString)
    with pytest.raises(GatewayError) as caught:
        unread.read()
    assert (caught.value.kind, caught.value.code) == (ErrorKind.INVALID_REQUEST, "malformed_request")


def test_neither_bytes_nor_code_are_shown() -> None:
    assert repr(Unread(b"picture", httpbody_pb2.HttpBody.FromString)) == "Unread()"


async def test_over_the_wire_too(serving: Serving) -> None:
    async with serving(directory(provider("a", FakeBackend()))) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(FORM_METHOD)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
