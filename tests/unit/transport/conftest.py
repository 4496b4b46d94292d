"""Real HTTP servers on loopback that behave as badly as told, and a clock whose waits take no time."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from heard import Heard

from service.catalog.profile import Profile
from service.concurrency.tasks import started
from service.core.calls import CallResult, ProducedImage, ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.providers.base import Credential, Endpoint
from service.providers.http import HttpRequest, HttpResponse, JsonBody, Purpose
from service.providers.wire import json_object, status_error
from service.routing.retry import RetryPolicy
from service.transport.client import open_client
from service.transport.clock import Clock
from service.transport.credentials import Credentials, WeightedCredential
from service.transport.executor import Executor
from service.transport.upstream import ExchangeSettings, Upstream


@dataclass
class Received:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Connection:
    """A request's connection, for a behaviour to do with as it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Ends with a RST instead of a FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Behaviour = Callable[[Received, Connection], Awaitable[None]]


def answer(status: int, body: Any = b"", **headers: str) -> Behaviour:
    """Behaves well. Underscores in header names stand for hyphens."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def behave(_: Received, connection: Connection) -> None:
        await connection.write("\r\n".join([*lines, "", ""]).encode() + content)

    return behave


def raw(data: bytes, *, then_reset: bool = False) -> Behaviour:
    """Writes these bytes and hangs up."""

    async def behave(_: Received, connection: Connection) -> None:
        await connection.write(data)
        if then_reset:
            # So that the client usually sees the bytes first; should the reset overtake them, it is a reset too.
            await asyncio.sleep(0.05)
            connection.reset()
        connection.writer.close()
        with suppress(ConnectionError):
            await connection.writer.wait_closed()

    return behave


async def hang(_: Received, connection: Connection) -> None:
    """Never answers."""
    await connection.gone()


@dataclass
class Server:
    """Answers each request with the next behaviour; the last one goes on for ever."""

    behaviours: list[Behaviour] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    reads_bodies: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def arrives(self, count: int) -> None:
        """Returns when that many requests are there."""
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                await self._serve_one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0))) if self.reads_bodies else b""
        method, path, _ = first.split(" ")
        received = Received(method, path, headers, body)
        behaviour = self.behaviours[min(len(self.received), len(self.behaviours) - 1)]
        self.received.append(received)
        self.arrived.set()
        await behaviour(received, Connection(reader, writer))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Starts a server with a list of behaviours."""
    running: list[asyncio.Server] = []
    connections: set[asyncio.Task[None]] = set()

    async def start(*behaviours: Behaviour, **listen: Any) -> Server:
        server = Server(list(behaviours))

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = started(server.serve(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        listening = await asyncio.start_server(connected, "127.0.0.1", 0, **listen)
        running.append(listening)
        server.port = listening.sockets[0].getsockname()[1]
        return server

    yield start
    for each in running:
        each.close()
    for task in list(connections):
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@pytest.fixture
def behaviours() -> SimpleNamespace:
    return SimpleNamespace(answer=answer, raw=raw, hang=hang, received=Received, connection=Connection)


@pytest.fixture
def refused_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


class FakeClock:
    """Waits take no time, and are remembered."""

    def __init__(self) -> None:
        self.instant = 1000.0
        self.waits: list[float] = []
        self.draw = 0.5

    def now(self) -> float:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.instant += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.sleep, lambda: self.draw, lambda: datetime(2026, 11, 22, tzinfo=UTC))


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def client():
    # Nothing here speaks TLS, and to load the public authorities for every test takes a tenth of a second.
    async with open_client(connect_timeout_s=2.0, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as opened:
        yield opened


class JobTranslator:
    """A vendor with a job queue: POST starts work, GET asks for it. ``{"wait": url}`` means not yet.

    ``{"refused": reason}`` inside a 200 is a refusal, ``{"failed": true}`` a failure that was not billed.
    """

    delay_s = 5.0

    def vary(self, call, profile, endpoint):
        del profile
        response = yield HttpRequest("POST", f"{endpoint.base_url}/jobs", body=JsonBody({"model": call.model}))
        while True:
            said = json_object(response)
            if "refused" in said:
                raise GatewayError(ErrorKind.CONTENT_REJECTED, said["refused"])
            if "failed" in said:
                raise GatewayError(ErrorKind.UNAVAILABLE, "The job failed.", may_have_run=False)
            if "wait" not in said:
                break
            cancel = HttpRequest("PUT", said["cancel"], Purpose.CANCEL) if "cancel" in said else None
            response = yield HttpRequest("GET", said["wait"], Purpose.POLL, delay_s=self.delay_s, cancel=cancel)
        return CallResult(tuple(ProducedImage(url=url) for url in said["images"]))

    def authorization(self, request, credential, endpoint, now):
        del request, endpoint, now
        return {"Authorization": f"Bearer {credential.secret}"}

    def failure(self, response: HttpResponse) -> GatewayError:
        return status_error(response, "")


def exchange_settings(**settings: Any) -> ExchangeSettings:
    """From the names of settings, whether they are the executor's or the retry policy's."""
    policy = {each.name for each in fields(RetryPolicy)}
    retry = RetryPolicy(**{name: value for name, value in settings.items() if name in policy})
    return ExchangeSettings(retry=retry, **{name: value for name, value in settings.items() if name not in policy})


def credentials(*names: str) -> Credentials:
    return Credentials([WeightedCredential(Credential(name, f"secret-of-{name}")) for name in names])


@pytest.fixture(scope="session")
def upstream() -> Callable[..., Upstream]:
    """Makes an upstream at a base URL with keys of these names."""

    def make(base_url: str, *names: str, trusted_hosts: tuple[str, ...] = (), **settings: Any) -> Upstream:
        return Upstream(
            JobTranslator(),
            Endpoint("vendor", base_url, trusted_hosts),
            credentials(*(names or ("main",))),
            exchange_settings(**settings),
        )

    return make


@pytest.fixture
def call() -> ProviderCall:
    return ProviderCall("model-1", EncodedImage(b"\x89PNG image", ImageFormat.PNG, Size(8, 8)))


@pytest.fixture
def runs(client, time, call):
    """Runs calls, with downloads that return the URL as bytes; keeps the attempts."""

    class Runs:
        def __init__(self) -> None:
            self.heard = Heard()
            self.executor = Executor(client, lambda url: self.download(url), clock=time.clock)
            self.profile = Profile()

        async def download(self, url: str) -> bytes:
            return url.encode()

        async def __call__(self, target, *, seconds: float = 600.0, **more):
            arguments = {"deadline": time.now() + seconds, "emit": self.heard, **more}
            return await self.executor.run(target, call, self.profile, **arguments)

        async def fails(self, target, **more) -> GatewayError:
            with pytest.raises(GatewayError) as caught:
                await self(target, **more)
            # The last attempt always tells the same story as the error.
            assert self.attempts[-1].outcome == caught.value.kind.value
            return caught.value

        @property
        def attempts(self):
            return self.heard.attempts

        @property
        def outcomes(self):
            return [(attempt.key, attempt.outcome, attempt.status) for attempt in self.attempts]

    return Runs()
