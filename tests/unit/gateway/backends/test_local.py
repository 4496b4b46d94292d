"""The embedded engine as a backend. Its engine is replaced where a test needs it to hang or fail."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_backends import LIMITS, pixel, png
from heard import Heard

from service import engine
from service.catalog.profile import Profile
from service.concurrency.pools import WorkerPool
from service.concurrency.tasks import started
from service.core.calls import ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.gateway.backends.base import CallContext, CallReport
from service.gateway.backends.local import LocalBackend
from service.imaging.provenance import read_source_type

SOURCE = EncodedImage(png(96, 64), ImageFormat.PNG, Size(96, 64))
needs_engine = pytest.mark.skipif(bool(engine.availability()), reason="the engine's libraries are not installed")


class Calling:
    """One call to the backend, and everything that it told."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        self.heard = Heard()

    async def vary(self, *, seconds: float = 60.0, **changes: Any) -> CallReport:
        call = ProviderCall(**{"model": "vary", "image": SOURCE, "size": Size(64, 64), "seed": 1, **changes})
        deadline = asyncio.get_running_loop().time() + seconds
        context = CallContext(deadline, self.heard)
        return await self._backend.vary(call, Profile(), context)

    @property
    def outcomes(self) -> list[str]:
        return self.heard.outcomes

    @property
    def images(self) -> dict[int, ProducedImage]:
        return self.heard.images


@pytest.fixture
def calling() -> Iterator[Calling]:
    pool = WorkerPool(2)
    yield Calling(LocalBackend(pool, LIMITS))
    pool.close()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the engine by one that paints the seed and the index; the value is what it was asked for."""
    asked: list[dict[str, Any]] = []

    def vary(source: object, size: Size, **arguments: Any) -> Any:
        asked.append({"size": size, **arguments})
        return np.full((size.height, size.width, 3), (arguments["seed"] % 256, arguments["index"], 9), np.uint8)

    monkeypatch.setattr(engine, "vary", vary)
    return asked


@needs_engine
async def test_the_real_engine_makes_real_images(calling: Calling) -> None:
    report = await calling.vary(n=2)
    assert sorted(calling.images) == [0, 1]
    assert all(image.data.startswith(b"\x89PNG") for image in calling.images.values())
    assert report.result.images[0].data != report.result.images[1].data
    assert report.result.cost_usd == 0.0
    assert read_source_type(report.result.images[0].data, ImageFormat.PNG) == "algorithmicallyEnhanced"


@needs_engine
class TestCalls:
    async def test_make_every_image_of_the_same_seed(self, calling: Calling, drawn: list[dict[str, Any]]) -> None:
        await calling.vary(n=3, seed=7)
        assert {index: pixel(image.data) for index, image in calling.images.items()} == {
            0: (7, 0, 9),
            1: (7, 1, 9),
            2: (7, 2, 9),
        }
        assert calling.outcomes == ["success"]

    async def test_without_a_seed_differ(self, calling: Calling, drawn: list[dict[str, Any]]) -> None:
        await calling.vary(seed=None)
        await calling.vary(seed=None)
        assert drawn[0]["seed"] != drawn[1]["seed"]

    async def test_without_a_size_get_the_engines_choice(self, calling: Calling, drawn: list[dict[str, Any]]) -> None:
        await calling.vary(size=None)
        assert drawn[0]["size"] == engine.automatic_size(SOURCE.size)

    async def test_pass_options_on(self, calling: Calling, drawn: list[dict[str, Any]]) -> None:
        await calling.vary(options={"allow_flip": True, "idea": "wider", "style": "oil"}, strength=0.9)
        passed = {name: drawn[0][name] for name in ("allow_flip", "idea", "style", "strength")}
        assert passed == {"allow_flip": True, "idea": "wider", "style": "oil", "strength": 0.9}

    async def test_mirror_nothing_and_choose_nothing_unasked(
        self, calling: Calling, drawn: list[dict[str, Any]]
    ) -> None:
        await calling.vary()
        assert (drawn[0]["allow_flip"], drawn[0]["idea"], drawn[0]["style"]) == (False, None, None)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"allow_flip": 1}, "true or false"),
            ({"allow_flip": True, "other": 1}, "no option 'other'"),
            ({"idea": "farther"}, "one of closer, wider"),
            ({"idea": ["closer"]}, "one of closer, wider"),
            ({"style": "baroque"}, "one of oil, watercolour"),
        ],
    )
    async def test_refuse_options_that_there_are_not(
        self, calling: Calling, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(GatewayError, match=said) as caught:
            await calling.vary(options=options)
        assert caught.value.param == "provider_options"
        assert calling.outcomes == ["invalid_request"]

    async def test_refuse_a_damaged_image(self, calling: Calling) -> None:
        damaged = EncodedImage(SOURCE.data[:60], ImageFormat.PNG, SOURCE.size)
        with pytest.raises(GatewayError) as caught:
            await calling.vary(image=damaged)
        assert caught.value.kind is ErrorKind.INVALID_REQUEST

    async def test_that_fail_stop_what_is_left_of_them(self, calling: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
        stopped = threading.Event()
        begun = threading.Event()

        def vary(*_: object, index: int, cancelled: Any, **__: object) -> Any:
            if index:
                begun.wait(10)
                raise GatewayError(ErrorKind.INVALID_REQUEST, "No.")
            begun.set()
            while not cancelled():
                pass
            stopped.set()
            raise engine.Cancelled

        monkeypatch.setattr(engine, "vary", vary)
        with pytest.raises(GatewayError, match="No"):
            await calling.vary(n=2)
        assert await asyncio.to_thread(stopped.wait, 10)
        assert calling.outcomes == ["invalid_request"]


def hanging(stopped: threading.Event, begun: threading.Event) -> Any:
    def vary(*_: object, cancelled: Any, **__: object) -> Any:
        begun.set()
        while not cancelled():
            pass
        stopped.set()
        raise engine.Cancelled

    return vary


@needs_engine
async def test_the_deadline_ends_the_work(calling: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    # On a busy machine an analysis could take all the time, and there would be no work to end.
    monkeypatch.setattr(engine.Source, "analyse", lambda *_, **__: None)
    monkeypatch.setattr(engine, "vary", hanging(stopped, threading.Event()))
    with pytest.raises(GatewayError) as caught:
        await calling.vary(seconds=2)
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert calling.outcomes == ["deadline_exceeded"]
    assert await asyncio.to_thread(stopped.wait, 10)


@needs_engine
async def test_cancelling_ends_the_work(calling: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, begun = threading.Event(), threading.Event()
    monkeypatch.setattr(engine, "vary", hanging(stopped, begun))
    task = started(calling.vary())
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calling.outcomes == ["cancelled"]
    assert await asyncio.to_thread(stopped.wait, 10)


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "availability", lambda: "numpy is missing.")
    pool = WorkerPool(1)
    unavailable = LocalBackend(pool, LIMITS).unavailable()
    pool.close()
    assert unavailable is not None
    assert (unavailable.kind, unavailable.code) == (ErrorKind.UNAVAILABLE, "engine_not_installed")


def test_background_work_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    pool = WorkerPool(1)
    with caplog.at_level(logging.ERROR):
        pool.in_background(fail)
        pool.in_background(done.set)
        assert done.wait(10)
    pool.close()
    assert "ZeroDivisionError" in caplog.text
