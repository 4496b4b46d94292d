"""Each method as callers see it, through a real gRPC server, whether over gRPC or as Envoy would pass it on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from fake_backends import FakeBackend, Hangs, directory, fails, makes, png, provider
from google.api import httpbody_pb2
from google.rpc import error_details_pb2, status_pb2
from imagevariations.v1 import (
    image_file_service_pb2,
    image_file_service_pb2_grpc,
    image_variation_pb2,
    image_variation_rest_service_pb2_grpc,
    image_variation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

from service.catalog.profile import Profile
from service.core.errors import ErrorKind, GatewayError
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.resolving import SystemResolver

Serving = Callable[..., AbstractAsyncContextManager[grpc.aio.Channel]]
Lines = list[dict[str, Any]]
Request = image_variation_pb2.CreateImageVariationRequest
THROUGH_ENVOY = (("x-envoy-original-path", "/v1/images/variations"),)
NOT_AN_IMAGE = b"<html>"


def asked(**fields: Any) -> Request:
    return Request(**{"image": png(), "response_format": "b64_json", **fields})


def stub(channel: grpc.aio.Channel) -> Any:
    return image_variation_service_pb2_grpc.ImageVariationServiceStub(channel)


def rest_stub(channel: grpc.aio.Channel) -> Any:
    return image_variation_rest_service_pb2_grpc.ImageVariationRestServiceStub(channel)


def form(image: bytes = png(), **fields: str) -> httpbody_pb2.HttpBody:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + image + b"\r\n--b--\r\n"
    return httpbody_pb2.HttpBody(content_type="multipart/form-data; boundary=b", data=body)


def headers_of(metadata: Any) -> dict[str, Any]:
    return dict(metadata or ())


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


class TestUnary:
    async def test_answers_with_images_and_headers(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            call = stub(channel).CreateImageVariation(asked(n=2), metadata=(("x-request-id", "mine-1"),))
            answer = await call
            headers = headers_of(await call.initial_metadata())
        assert [image.index for image in answer.data] == [0, 1]
        assert answer.extra_fields.provider == "a"
        assert {name: headers[name] for name in ("x-request-id", "x-provider", "x-model", "x-fallback-index")} == {
            "x-request-id": "mine-1",
            "x-provider": "a",
            "x-model": "m",
            "x-fallback-index": "0",
        }
        assert headers["x-cache"] == "off"

    async def test_takes_a_form_and_a_message_alike(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            answer = await rest_stub(channel).CreateImageVariationFromBody(
                form(model="a/m", n="2", response_format="b64_json", mystery="1")
            )
        assert answer.content_type == "application/json"
        told = json.loads(answer.data)
        assert len(told["data"]) == 2
        assert told["extra_fields"]["warnings"] == ["Unknown fields were ignored: 'mystery'."]

    async def test_takes_and_gives_what_is_too_large_for_the_event_loop(self, serving: Serving) -> None:
        """Noise does not compress: these images are well over the size that is handled in place."""
        noisy = _noise(512)
        async with serving(directory(provider("a", FakeBackend(makes(noisy))))) as channel:
            answer = await rest_stub(channel).CreateImageVariationFromBody(form(noisy, response_format="b64_json"))
        assert len(json.loads(answer.data)["data"][0]["b64_json"]) > 500_000

    async def test_failures_carry_details_for_grpc_clients(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            error = await failure_of(stub(channel).CreateImageVariation(asked(n=11)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        trailers = headers_of(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (info.reason, info.metadata["http_status"], info.metadata["param"]) == ("INVALID_N", "400", "n")
        assert "x-error-envelope" not in trailers

    async def test_failures_carry_the_envelope_through_envoy(self, serving: Serving) -> None:
        backend = FakeBackend(fails(ErrorKind.RATE_LIMITED, "Slow down."))
        async with serving(directory(provider("a", backend))) as channel:
            error = await failure_of(stub(channel).CreateImageVariation(asked(), metadata=THROUGH_ENVOY))
        trailers = headers_of(error.trailing_metadata())
        assert json.loads(trailers["x-error-envelope"]) == {
            "error": {
                "message": "Slow down.",
                "type": "rate_limit_error",
                "code": "rate_limit_exceeded",
                "param": None,
            }
        }
        assert trailers["x-http-status"] == "429"
        # The target that failed is named, and the request can be found in the log.
        assert (trailers["x-provider"], trailers["x-model"], trailers["x-fallback-index"]) == ("a", "m", "0")
        assert trailers["x-request-id"].startswith("req_")

    @pytest.mark.parametrize("character", ["x", "中", "%", "🙂", "\x00"])
    async def test_a_long_message_in_any_script_arrives(self, serving: Serving, character: str) -> None:
        """gRPC drops answers whose metadata is too large, and percent-encodes messages there."""
        names = directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE, character * 5000))))
        async with serving(names) as channel:
            error = await failure_of(stub(channel).CreateImageVariation(asked()))
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert error.details().startswith(character * 100)

    async def test_half_a_surrogate_in_a_message_does_not_hide_the_status(self, serving: Serving) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE, "bad \ud800 text"))))
        async with serving(names) as channel:
            error = await failure_of(stub(channel).CreateImageVariation(asked()))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "bad ? text")

    async def test_a_bug_tells_nothing_but_the_request_id(
        self, serving: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def bug(call: object, context: object) -> object:
            raise ZeroDivisionError("the secret is 42")

        async with serving(directory(provider("a", FakeBackend(bug)))) as channel:  # type: ignore[arg-type]
            error = await failure_of(
                stub(channel).CreateImageVariation(asked(), metadata=(("x-request-id", "find-me"),))
            )
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == "Something went wrong on our side. The request id is find-me."
        assert any(record.exc_info and "find-me" in record.getMessage() for record in caplog.records)

    async def test_a_failure_of_ours_deep_down_is_logged_with_its_cause(
        self, serving: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken(call: object, context: object) -> object:
            raise GatewayError(ErrorKind.INTERNAL, "The call failed unexpectedly.") from KeyError("choices")

        async with serving(directory(provider("a", FakeBackend(broken)))) as channel:  # type: ignore[arg-type]
            error = await failure_of(stub(channel).CreateImageVariation(asked()))
        assert "request id" in (error.details() or "")
        assert "KeyError" in caplog.text

    async def test_more_requests_than_allowed_are_refused(self, serving: Serving) -> None:
        hangs = Hangs()
        names = directory(provider("a", FakeBackend(hangs, makes())))
        async with serving(names, most_at_a_time=1) as channel:
            first = stub(channel).CreateImageVariation(asked())
            await hangs.begun.wait()
            error = await failure_of(stub(channel).CreateImageVariation(asked(), metadata=THROUGH_ENVOY))
            trailers = headers_of(error.trailing_metadata())
            assert (trailers["x-http-status"], trailers["retry-after"]) == ("429", "1")
            first.cancel()
            await hangs.stopped.wait()
            await _eventually(lambda: stub(channel).CreateImageVariation(asked()))

    async def test_hosts_that_never_answer_keep_nobody_else_from_being_served(self, serving: Serving) -> None:
        reached = asyncio.Semaphore(0)

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.release()
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                await reader.read()

        host = await asyncio.start_server(silent, "127.0.0.1", 0)
        origin = f"http://127.0.0.1:{host.sockets[0].getsockname()[1]}"
        fetcher = ImageFetcher(resolver=SystemResolver())
        policy = FetchPolicy(allowed_origins=frozenset({origin}))

        async def fetch(url: str) -> bytes:
            return await fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.CALLER)

        async with serving(directory(provider("a", FakeBackend())), most_at_a_time=2, fetch=fetch) as channel:
            waiting = [
                stub(channel).CreateImageVariation(asked(image=b"", image_url=f"{origin}/a.png")) for _ in range(2)
            ]
            for _ in waiting:
                await reached.acquire()
            # Neither download holds a place among the two requests at work; a third one has no room.
            assert (await stub(channel).CreateImageVariation(asked())).data
            error = await failure_of(stub(channel).CreateImageVariation(asked(image=b"", image_url=f"{origin}/b.png")))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            for call in waiting:
                call.cancel()
        await fetcher.aclose()
        host.close()
        await host.wait_closed()

    async def test_an_image_by_url_takes_its_place_when_it_is_there(self, serving: Serving) -> None:
        async def fetch(_: str) -> bytes:
            return png()

        hangs = Hangs()
        names = directory(provider("a", FakeBackend(hangs, makes())))
        async with serving(names, most_at_a_time=1, fetch=fetch) as channel:
            first = stub(channel).CreateImageVariation(asked(image=b"", image_url="https://example.org/a.png"))
            await hangs.begun.wait()
            error = await failure_of(stub(channel).CreateImageVariation(asked()))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            first.cancel()
            await hangs.stopped.wait()
            await _eventually(lambda: stub(channel).CreateImageVariation(asked()))


class TestDeadlines:
    async def test_of_the_header_ends_the_call_and_lists_what_was_tried(self, serving: Serving) -> None:
        hangs = Hangs()
        async with serving(directory(provider("a", FakeBackend(hangs)))) as channel:
            error = await failure_of(
                stub(channel).CreateImageVariation(asked(), metadata=(*THROUGH_ENVOY, ("x-request-timeout-ms", "300")))
            )
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error.details() == "The time allowed for this request ran out. Tried: a/m (deadline_exceeded)."
        assert headers_of(error.trailing_metadata())["x-provider"] == "a"
        assert hangs.stopped.is_set()

    async def test_of_a_grpc_client_is_met_in_time_to_say_why(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(Hangs())))) as channel:
            error = await failure_of(stub(channel).CreateImageVariation(asked(), timeout=0.8))
        assert "Tried: a/m (deadline_exceeded)" in (error.details() or "")

    async def test_images_made_in_time_are_returned(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(Hangs(after=[png()]))))) as channel:
            answer = await stub(channel).CreateImageVariation(asked(n=3), timeout=0.8)
        assert len(answer.data) == 1
        assert answer.extra_fields.warnings[0].startswith("Only 1 of 3 images could be made")

    async def test_are_capped_by_the_operator(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(Hangs()))), longest_s=0.2) as channel:
            error = await failure_of(
                stub(channel).CreateImageVariation(asked(), metadata=(("x-request-timeout-ms", "60000"),))
            )
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    @pytest.mark.parametrize("text", ["0", "-5", "1.5", "1e3", "soon", "", "9999999999"])
    async def test_that_make_no_sense_are_refused(self, serving: Serving, text: str) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            error = await failure_of(
                stub(channel).CreateImageVariation(asked(), metadata=(("x-request-timeout-ms", text),))
            )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestStreams:
    async def test_tell_what_happens_and_end_with_the_whole(self, serving: Serving) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE))), provider("b", FakeBackend()))
        fallback = image_variation_pb2.Fallback(model="b/m")
        async with serving(names) as channel:
            call = stub(channel).StreamImageVariation(asked(n=2, fallbacks=[fallback]))
            told = [message async for message in call]
            headers = headers_of(await call.initial_metadata())
        assert [message.type.removeprefix("image_variation.") for message in told] == [
            "attempt_started",
            "attempt_failed",
            "attempt_started",
            "image_completed",
            "image_completed",
            "completed",
        ]
        assert told[1].attempt_failed.next == "b/m"
        assert [message.image_completed.provider for message in told[3:5]] == ["b", "b"]
        assert not told[-1].completed.data
        assert told[-1].completed.extra_fields.fallback_index == 1
        # Headers go out before it is known who makes the images.
        assert "x-provider" not in headers

    async def test_that_fail_before_they_began_have_a_status(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            call = stub(channel).StreamImageVariation(asked(n=11), metadata=THROUGH_ENVOY)
            error = await failure_of(_all(call))
        assert headers_of(error.trailing_metadata())["x-http-status"] == "400"

    async def test_that_fail_later_end_with_a_status_for_grpc_clients(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(fails(ErrorKind.UNAVAILABLE))))) as channel:
            error = await failure_of(_all(stub(channel).StreamImageVariation(asked())))
        assert error.code() is grpc.StatusCode.UNKNOWN

    async def test_give_a_sign_of_life_while_nothing_happens(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.api.variations.KEEP_ALIVE_AFTER_S", 0.02)
        hangs = Hangs()
        async with serving(directory(provider("a", FakeBackend(hangs)))) as channel:
            call = stub(channel).StreamImageVariation(asked())
            kinds = [(await call.read()).WhichOneof("event") for _ in range(3)]
            call.cancel()
        assert kinds == ["attempt_started", "keep_alive", "keep_alive"]

    async def test_that_fail_later_end_with_an_event_through_envoy(self, serving: Serving, log_lines: Lines) -> None:
        names = directory(provider("a", FakeBackend(fails(ErrorKind.CONTENT_REJECTED, "No."))))
        async with serving(names) as channel:
            told = await events_of(rest_stub(channel).StreamImageVariationFromBody(form(), metadata=THROUGH_ENVOY))
        assert told[-1]["type"] == "image_variation.failed"
        failed = told[-1]["failed"]
        assert (failed["message"], failed["type"], failed["code"]) == (
            "No.",
            "content_policy_error",
            "content_rejected",
        )
        assert (failed["http_status"], failed["should_retry"]) == (400, False)
        assert failed["request_id"].startswith("req_")
        assert [attempt["outcome"] for attempt in failed["attempts"]] == ["content_rejected"]
        (line,) = log_lines
        assert (line["outcome"], line["error"]) == ("content_rejected", "content_rejected")

    async def test_that_run_out_of_time_end_with_an_event_through_envoy(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(Hangs())))) as channel:
            metadata = (*THROUGH_ENVOY, ("x-request-timeout-ms", "300"))
            told = await events_of(rest_stub(channel).StreamImageVariationFromBody(form(), metadata=metadata))
        assert [event["type"] for event in told[-2:]] == ["image_variation.attempt_failed", "image_variation.failed"]
        assert told[-1]["failed"]["code"] == "timeout"

    async def test_that_meet_a_bug_end_with_an_event_through_envoy(
        self, serving: Serving, log_lines: Lines, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def bug(call: object, context: object) -> object:
            raise ZeroDivisionError

        async with serving(directory(provider("a", FakeBackend(bug)))) as channel:  # type: ignore[arg-type]
            told = await events_of(rest_stub(channel).StreamImageVariationFromBody(form(), metadata=THROUGH_ENVOY))
        assert told[-1]["failed"]["code"] == "internal_error"
        assert log_lines[0]["error"] == "internal"
        assert "ZeroDivisionError" in caplog.text

    async def test_that_nobody_listens_to_stop_the_work(self, serving: Serving, log_lines: Lines) -> None:
        hangs = Hangs(after=[png()])
        async with serving(directory(provider("a", FakeBackend(hangs)))) as channel:
            call = stub(channel).StreamImageVariation(asked(n=2))
            async for message in call:
                if message.HasField("image_completed"):
                    break
            call.cancel()
            await asyncio.wait_for(hangs.stopped.wait(), 10)
            await _until(lambda: bool(log_lines))
        assert log_lines[0]["outcome"] == "cancelled"

    async def test_that_are_not_read_hold_no_place_and_end(
        self, serving: Serving, log_lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.api.calls.LONGEST_WRITE_S", 1.0)
        backend = FakeBackend(makes(*[_noise(1024)] * 10), makes(png()))
        async with serving(directory(provider("a", backend)), most_at_a_time=1) as channel:
            unread = stub(channel).StreamImageVariation(asked(n=10))
            await unread.initial_metadata()
            # The place is given back when the work is done, while the first image still waits to be read.
            answer = await _eventually(lambda: stub(channel).CreateImageVariation(asked()))
            assert answer.data
            assert not [line for line in log_lines if line["method"] == "StreamImageVariation"]
            await _until(lambda: any(line["method"] == "StreamImageVariation" for line in log_lines))
        (line,) = (line for line in log_lines if line["method"] == "StreamImageVariation")
        assert line["outcome"] == "cancelled"

    async def test_of_forms_are_the_same(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            call = rest_stub(channel).StreamImageVariationFromBody(form(response_format="b64_json", n="2"))
            told = await events_of(call)
            headers = headers_of(await call.initial_metadata())
        assert [event["type"].partition(".")[2] for event in told] == [
            "attempt_started",
            "image_completed",
            "image_completed",
            "completed",
        ]
        image = told[1]["image_completed"]
        assert (image["provider"], image["model"], base64.b64decode(image["b64_json"])) == ("a", "m", png())
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert "x-provider" not in headers

    async def test_of_forms_have_comments_while_nothing_happens(
        self, serving: Serving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.api.variations.KEEP_ALIVE_AFTER_S", 0.02)
        async with serving(directory(provider("a", FakeBackend(Hangs())))) as channel:
            call = rest_stub(channel).StreamImageVariationFromBody(form())
            written = [(await call.read()).data for _ in range(3)]
            call.cancel()
        assert written[0].startswith(b"event: image_variation.attempt_started\ndata: {")
        assert all(piece.startswith(b": ") and piece.endswith(b"\n\n") for piece in written[1:])


class TestFiles:
    async def test_links_lead_to_the_images(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend(makes(_noise(512)))))) as channel:
            metadata = (("x-forwarded-host", "images.example.org:8443"), ("x-forwarded-proto", "https"))
            answer = await stub(channel).CreateImageVariation(asked(response_format="url"), metadata=metadata)
            url = urlsplit(answer.data[0].url)
            query = parse_qs(url.query)
            call = image_file_service_pb2_grpc.ImageFileServiceStub(channel).GetImageFile(
                image_file_service_pb2.GetImageFileRequest(
                    name=url.path.rpartition("/")[2],
                    expires=int(query["expires"][0]),
                    signature=query["signature"][0],
                )
            )
            chunks = await _all(call)
            headers = headers_of(await call.initial_metadata())
        assert f"{url.scheme}://{url.netloc}" == "https://images.example.org:8443"
        assert b"".join(chunk.data for chunk in chunks).startswith(b"\x89PNG")
        assert {chunk.content_type for chunk in chunks} == {"image/png"}
        assert headers["cache-control"].startswith("private")

    async def test_a_forged_link_is_refused(self, serving: Serving) -> None:
        async with serving(directory(provider("a", FakeBackend()))) as channel:
            call = image_file_service_pb2_grpc.ImageFileServiceStub(channel).GetImageFile(
                image_file_service_pb2.GetImageFileRequest(name="../../etc/passwd", expires=2**31, signature="0" * 64)
            )
            error = await failure_of(_all(call))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_models_are_listed_with_what_is_wrong_with_them(serving: Serving) -> None:
    keyless = FakeBackend(unavailable=GatewayError(ErrorKind.UPSTREAM_AUTH, "b has no key."))
    names = directory(provider("a", FakeBackend(), Profile(max_n=4, seed=True)), provider("b", keyless))
    async with serving(names) as channel:
        answer = await model_service_pb2_grpc.ModelServiceStub(channel).ListModels(
            model_service_pb2.ListModelsRequest()
        )
    first, second = answer.data
    assert (first.id, first.capabilities.max_n, first.capabilities.seed) == ("a/m", 4, True)
    assert first.capabilities.available
    assert (second.capabilities.available, list(second.warnings)) == (False, ["b has no key."])


class TestLogLines:
    async def test_hold_what_was_done_and_nothing_private(self, serving: Serving, log_lines: Lines) -> None:
        names = directory(provider("a", FakeBackend()))
        metadata = (("authorization", "Bearer sk-theirs"), ("x-request-id", "r1"))
        async with serving(names, allow_direct_keys=True) as channel:
            await stub(channel).CreateImageVariation(
                asked(model="a/m", user="alice@example.org", prompt="my secret wish"), metadata=metadata
            )
        (line,) = log_lines
        assert line["milliseconds"] >= 0
        assert {name: line[name] for name in line if name not in ("milliseconds", "user")} == {
            "id": "r1",
            "method": "CreateImageVariation",
            "model": "a/m",
            "provider": "a",
            "model_used": "m",
            "fallback_index": 0,
            "images": 1,
            "attempts": [{"target": "fake/m", "outcome": "success", "milliseconds": 5, "key": "main"}],
            "outcome": "success",
        }
        for private in ("sk-theirs", "alice", "secret wish"):
            assert private not in str(line)

    async def test_of_failures_say_which(self, serving: Serving, log_lines: Lines) -> None:
        async with serving(directory(provider("a", FakeBackend(makes(NOT_AN_IMAGE))))) as channel:
            await failure_of(stub(channel).CreateImageVariation(asked()))
        assert (log_lines[0]["outcome"], log_lines[0]["error"]) == ("bad_provider_response", "bad_response")


def _noise(side: int) -> bytes:
    import io
    import random

    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(7).randbytes(side * side * 3)).save(buffer, "PNG")
    return buffer.getvalue()


async def events_of(call: Any) -> list[dict[str, Any]]:
    """The events of a stream of Server-Sent Events, each with a line that names its type."""
    events = []
    for message in await _all(call):
        name, data = message.data.decode().removesuffix("\n\n").split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert (message.content_type, name) == ("text/event-stream", f"event: {event['type']}")
        events.append(event)
    return events


async def _all(call: Any) -> list[Any]:
    return [message async for message in call]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.005)


async def _eventually(call: Callable[[], Any]) -> Any:
    """The answer of a call once it is let through: the server learns a moment later that another was cancelled."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                await asyncio.sleep(0.005)
