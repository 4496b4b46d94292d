"""Every call is given an id, a deadline and a base for links before its handler runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.api.call import Call
from service.api.calls import Calls, CallSettings
from service.api.log_line import hashed

SETTINGS = CallSettings(longest_s=60.0, base_url="http://127.0.0.1:8080")


class FakeContext:
    """As much of a gRPC context as a call looks at."""

    def __init__(self, metadata: dict[str, str | bytes], remaining_s: float | None = None) -> None:
        self._metadata = tuple(metadata.items())
        self._remaining_s = remaining_s
        self.headers: dict[str, str] = {}

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._remaining_s

    async def send_initial_metadata(self, metadata: Any) -> None:
        self.headers = dict(metadata)

    async def abort(self, code: Any, message: str, metadata: Any) -> None:
        raise AbortedError(message)


class AbortedError(Exception):
    """Stands in for what gRPC raises when a call is aborted."""


async def begun(
    metadata: dict[str, str | bytes] | None = None,
    *,
    remaining_s: float | None = None,
    settings: CallSettings = SETTINGS,
) -> Call:
    """The call that a handler sees."""

    async def handle(call: Call) -> Call:
        return call

    return await Calls(settings).unary("Test", FakeContext(metadata or {}, remaining_s), handle)  # type: ignore[arg-type]


class TestRequestIds:
    @pytest.mark.parametrize("given", ["abc", "2f1c-77:a/b=c+d._", "x" * 128])
    async def test_that_are_sane_are_kept(self, given: str) -> None:
        call = await begun({"x-request-id": given})
        assert (call.id, call.headers["x-request-id"]) == (given, given)

    @pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\nb", "<script>", "ä", "{}", b"bytes"])
    async def test_that_are_not_are_replaced(self, given: str | bytes) -> None:
        assert (await begun({"x-request-id": given})).id.startswith("req_")

    async def test_are_made_up_anew_each_time(self) -> None:
        assert (await begun()).id != (await begun()).id


class TestDeadlines:
    @pytest.mark.parametrize(
        ("header_ms", "remaining_s", "expected_s"),
        [
            (None, None, 60.0),
            (None, 5.0, 5.0),
            (None, 600.0, 60.0),
            ("2000", None, 2.0),
            ("2000", 1.0, 1.0),
            ("1000", 2.0, 1.0),
            ("999999999", None, 60.0),
        ],
    )
    async def test_are_the_least_of_all_there_are(
        self, header_ms: str | None, remaining_s: float | None, expected_s: float
    ) -> None:
        metadata: dict[str, str | bytes] = {"x-request-timeout-ms": header_ms} if header_ms else {}
        call = await begun(metadata, remaining_s=remaining_s)
        assert call.deadline - call.begun == pytest.approx(expected_s)
        assert call.deadline - call.work_deadline == pytest.approx(0.1)

    async def test_that_have_passed_leave_no_time(self) -> None:
        async def handle(call: Call) -> Call:
            await asyncio.sleep(60)
            return call

        with pytest.raises(AbortedError, match="time allowed"):
            await Calls(SETTINGS).unary("Test", FakeContext({}, remaining_s=-1.0), handle)  # type: ignore[arg-type]


class TestBaseUrls:
    @pytest.mark.parametrize(
        ("host", "scheme", "expected"),
        [
            ("images.example.org", "https", "https://images.example.org"),
            ("images.example.org:8443", "https", "https://images.example.org:8443"),
            ("127.0.0.1:8080", "http", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http", "http://[::1]:8080"),
            ("images.example.org", "javascript", "http://images.example.org"),
            ("images.example.org", None, "http://images.example.org"),
        ],
    )
    async def test_are_where_the_caller_reached_us(self, host: str, scheme: str | None, expected: str) -> None:
        metadata: dict[str, str | bytes] = {"x-forwarded-host": host}
        if scheme:
            metadata["x-forwarded-proto"] = scheme
        assert (await begun(metadata)).base_url == expected

    @pytest.mark.parametrize(
        "host",
        ["", "a b", "a/b", "user@host", "host?x", "host#x", "host\r\nx: y", "a:b", "host:999999", "x" * 300, "[::1",
         "ä.de", "a,b", '"', "host:８０", b"bytes"],
    )  # fmt: skip
    async def test_never_come_from_a_hostile_host(self, host: str | bytes) -> None:
        assert (await begun({"x-forwarded-host": host})).base_url == SETTINGS.base_url


class TestCredentials:
    @pytest.mark.parametrize(
        ("metadata", "key"),
        [
            ({"authorization": "Bearer sk-1"}, "sk-1"),
            ({"authorization": "bearer  sk-1 "}, "sk-1"),
            ({"x-api-key": "sk-2"}, "sk-2"),
            ({"authorization": "Basic dXNlcg==", "x-api-key": "sk-2"}, "sk-2"),
            ({"authorization": "Bearer "}, ""),
            ({"x-bf-vk": "sk-bf-3", "authorization": "Bearer what-an-sdk-insists-on"}, "sk-bf-3"),
            ({"x-api-key": "sk-bf-3", "authorization": "Bearer what-an-sdk-insists-on"}, "sk-bf-3"),
            ({"x-api-key": "sk-2", "authorization": "Bearer sk-1"}, "sk-1"),
            ({}, ""),
        ],
    )
    async def test_are_found_in_any_of_their_headers(self, metadata: dict[str, str | bytes], key: str) -> None:
        assert (await begun(metadata)).credential == key

    async def test_stay_out_of_reprs(self) -> None:
        call = await begun({"authorization": "Bearer sk-secret"})
        assert "sk-secret" not in repr(call)


async def test_headers_that_a_handler_adds_are_sent() -> None:
    context = FakeContext({"x-request-id": "r-1", "x-raw": "TRUE"})

    async def handle(call: Call) -> None:
        assert call.raw
        call.headers["x-provider"] = "local"

    await Calls(SETTINGS).unary("Test", context, handle)  # type: ignore[arg-type]
    assert context.headers == {"x-request-id": "r-1", "x-cache": "off", "x-provider": "local"}


async def test_a_stream_that_is_abandoned_ends_its_handler() -> None:
    ended = False

    async def handle(_: Call) -> Any:
        nonlocal ended
        try:
            while True:
                yield "message"
        finally:
            ended = True

    messages = Calls(SETTINGS).stream("Test", FakeContext({}), handle)  # type: ignore[arg-type]
    assert await anext(messages) == "message"
    await messages.aclose()
    assert ended


async def test_a_reader_who_takes_long_is_not_interrupted_by_the_deadline() -> None:
    """An interruption while gRPC waits for the reader would hit gRPC's own code."""

    async def handle(_: Call) -> Any:
        yield "first"
        yield "second"

    context = FakeContext({"x-request-timeout-ms": "20"})
    read = []
    async for message in Calls(SETTINGS).stream("Test", context, handle):  # type: ignore[arg-type]
        read.append(message)
        await asyncio.sleep(0.05)
    assert read == ["first", "second"]


def test_users_are_logged_as_a_hash() -> None:
    assert hashed("alice") == hashed("alice") != hashed("bob")
    assert "alice" not in hashed("alice")
    assert hashed("") == ""
    assert hashed("\ud800")
