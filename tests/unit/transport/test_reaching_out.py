"""Shared by provider calls and downloads: certificates, addresses, dead hosts, and faults of our own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from service.core.errors import ErrorKind, GatewayError
from service.providers.http import SignableRequest
from service.routing.rules import RULES
from service.transport import own_faults, sockets
from service.transport.certificates import trust_store
from service.transport.client import open_client
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.own_faults import own_fault
from service.transport.resolving import HostileNameResolver, SystemResolver
from service.transport.send import send
from service.transport.sockets import open_socket

BOTH = pytest.mark.parametrize("way", ["call", "download"])


async def reached(way: str, url: str, *, resolver=None, ssl_context: ssl.SSLContext | None = None) -> bytes:
    """The body at a URL, by one of the two ways out of this process."""
    resolver = resolver or SystemResolver()
    if way == "call":
        async with open_client(resolver=resolver, ssl_context=ssl_context, connect_timeout_s=5) as client:
            request = SignableRequest("POST", url, {}, b"{}")
            return (await send(client, request, timeout_s=20, max_response_bytes=1000)).body
    fetcher = ImageFetcher(resolver=resolver, ssl_context=ssl_context, connect_timeout_s=5)
    policy = FetchPolicy(allowed_origins=frozenset({url}))
    try:
        return await fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.PROVIDER)
    finally:
        await fetcher.aclose()


class TestCertificates:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    async def https_url(self, serve, behaviours, authority: trustme.CA) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        server = await serve(behaviours.answer(200, b"trusted"), ssl=context)
        return f"https://localhost:{server.port}"

    @BOTH
    async def test_the_authorities_of_the_environment_count_for_both(
        self, way: str, https_url: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await reached(way, https_url) == b"trusted"

    @BOTH
    async def test_a_further_authority_counts_for_both(
        self, way: str, https_url: str, authority: trustme.CA, tmp_path: Path
    ) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        trusted = trust_store(str(tmp_path / "ca.pem"))
        assert await reached(way, https_url, ssl_context=trusted) == b"trusted"

    @BOTH
    async def test_nobody_else_is_trusted(self, way: str, https_url: str) -> None:
        with pytest.raises(GatewayError):
            await reached(way, https_url)


@contextlib.contextmanager
def dead_address(port: int) -> Iterator[str]:
    """An address that swallows whatever is sent to it: a listener whose queue is full drops further SYNs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield "127.0.0.2"


class TestAddresses:
    @BOTH
    async def test_a_dead_address_does_not_use_up_the_time_to_connect(self, way: str, serve, behaviours) -> None:
        server = await serve(behaviours.answer(200, b"alive"))
        with dead_address(server.port) as dead:

            async def both(host: str, port: int) -> list[str]:
                return [dead, "127.0.0.1"]

            assert await reached(way, f"http://several.test:{server.port}", resolver=both) == b"alive"

    async def test_of_many_addresses_some_of_each_family_are_tried(self, serve, behaviours) -> None:
        server = await serve(behaviours.answer(200, b"alive"))

        async def many(host: str, port: int) -> list[str]:
            return [*(f"100::{number}" for number in range(1, 9)), "127.0.0.1"]

        assert await reached("download", f"http://many.test:{server.port}", resolver=many) == b"alive"


class TestHostsThatVanish:
    """No loopback connection can lose its other side without a word: the kernel always answers. The nearest to it is a
    server that takes nothing more, whose kernel goes on saying so."""

    async def test_a_connection_that_takes_nothing_more_breaks(self, serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sockets, "_UNACKNOWLEDGED_MS", 300)
        stopped = asyncio.Event()

        async def stop_reading(_, connection) -> None:
            connection.writer.transport.pause_reading()
            await stopped.wait()

        server = await serve(stop_reading)
        server.reads_bodies = False
        request = SignableRequest("POST", server.url, {}, b"x" * 30_000_000)
        async with open_client() as client:
            with pytest.raises(GatewayError) as caught:
                await send(client, request, timeout_s=30, max_response_bytes=100)
        stopped.set()
        assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UNAVAILABLE, True)

    def test_sockets_ask_whether_the_other_side_is_there(self) -> None:
        address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
        with contextlib.closing(open_socket(address)) as opened:
            assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            probing_s = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + (
                opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
                * opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            )
            assert probing_s <= 60
            assert 0 < opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000

    @BOTH
    async def test_connections_are_made_of_such_sockets(self, way: str, serve) -> None:
        timers: list[str] = []

        async def look(_, connection) -> None:
            ours, theirs = (connection.writer.get_extra_info(name)[1] for name in ("peername", "sockname"))
            # The kernel's own view of our side's socket: 02 is the keep-alive timer (proc(5), /proc/net/tcp).
            timers.extend(_timers_of_connection(ours, theirs))
            await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        server = await serve(look)
        assert await reached(way, server.url) == b"ok"
        assert timers == ["02"]

    def test_a_connection_that_was_given_up_leads_to_the_next_target(self) -> None:
        assert RULES[ErrorKind.UNAVAILABLE].next_target


def _timers_of_connection(local: int, remote: int) -> list[str]:
    """The timers of the sockets with these two ports; another connection may have the same local port meanwhile."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        fields[5].partition(":")[0]
        for fields in lines
        if [int(address.rpartition(":")[2], 16) for address in fields[1:3]] == [local, remote]
    ]


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """A process that can open nothing more; what is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestFaultsOfOurOwn:
    @pytest.fixture(autouse=True)
    def fresh_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(own_faults.fault_log, "_told", {})

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "no-such-host.invalid"])
    async def test_a_provider_is_not_blamed_for_our_lack_of_descriptors(
        self, host: str, serve, behaviours, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = await serve(behaviours.answer(200))
        request = SignableRequest("POST", f"http://{host}:{server.port}/", {}, b"{}")
        async with open_client() as client:
            for _ in range(3):
                with no_descriptors_left(), pytest.raises(GatewayError) as caught:
                    await send(client, request, timeout_s=10, max_response_bytes=100)
                assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.OUT_OF_RESOURCES, False)
        assert server.received == []
        told = [record for record in caplog.records if record.name == "service.transport"]
        assert [(record.levelno, "file descriptors" in record.getMessage()) for record in told] == [
            (logging.ERROR, True)
        ]

    async def test_calls_succeed_as_soon_as_there_are_some_again(self, serve, upstream, runs, behaviours) -> None:
        server = await serve(behaviours.answer(200, {"images": ["a"]}))
        with no_descriptors_left():
            error = await runs.fails(upstream(server.url, max_retries=0))
        assert (error.kind, error.retry_after_s) == (ErrorKind.OUT_OF_RESOURCES, 1.0)
        await runs(upstream(server.url))
        assert runs.outcomes == [("main", "out_of_resources", None), ("main", "success", 200)]

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "no-such-host.invalid"])
    @pytest.mark.parametrize("chosen_by", ChosenBy)
    @pytest.mark.parametrize("resolver", [SystemResolver, HostileNameResolver])
    async def test_neither_is_a_caller_for_a_url_that_we_cannot_fetch(
        self, host: str, chosen_by: ChosenBy, resolver, serve, behaviours
    ) -> None:
        server = await serve(behaviours.answer(200, b"image"))
        url = f"http://{host}:{server.port}/"
        names = resolver()
        fetcher = ImageFetcher(resolver=names)
        policy = FetchPolicy(allowed_origins=frozenset({url}))
        with no_descriptors_left(), pytest.raises(GatewayError) as caught:
            await fetcher.fetch_image_url(url, policy=policy, chosen_by=chosen_by)
        assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.OUT_OF_RESOURCES, False)
        await fetcher.aclose()
        if isinstance(names, HostileNameResolver):
            await names.aclose()

    @pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"])
    def test_each_kind_is_known(self, name: str) -> None:
        number = getattr(__import__("errno"), name)
        assert own_fault(OSError(number, os.strerror(number)))

    def test_of_several_failures_one_of_our_own_is_enough(self) -> None:
        assert own_fault(OSError("Multiple exceptions: [Errno 101] unreachable, [Errno 24] Too many open files"))

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionRefusedError(111, "refused"),
            # IPv6 is switched off here, and over IPv4 nobody listens.
            OSError("Multiple exceptions: [Errno 99] Cannot assign requested address, [Errno 111] refused"),
            OSError("no such name"),
            ValueError("24"),
        ],
    )
    def test_the_other_side_s_are_told_apart(self, error: Exception) -> None:
        assert own_fault(error) == ""

    def test_no_breaker_counts_them(self) -> None:
        assert not RULES[ErrorKind.OUT_OF_RESOURCES].breaker_counts


async def test_a_download_that_drips_ends_with_the_attempt_and_is_not_begun_again(
    serve, upstream, runs, behaviours
) -> None:
    drips = 0

    async def drip(_, connection) -> None:
        nonlocal drips
        drips += 1
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not connection.writer.is_closing():
            await connection.write(b"a")
            await asyncio.sleep(0.01)

    results = await serve(drip)
    server = await serve(behaviours.answer(200, {"images": [f"{results.url}/0.png"]}))
    fetcher = ImageFetcher(resolver=SystemResolver())
    policy = FetchPolicy(allowed_origins=frozenset({results.url}))
    runs.download = lambda url: fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.PROVIDER)
    error = await runs.fails(upstream(server.url, attempt_timeout_s=0.5))
    await fetcher.aclose()
    assert (error.kind, error.may_have_run) == (ErrorKind.TIMEOUT, True)
    assert drips == 1


@pytest.mark.parametrize(("status", "tries"), [(404, 2), (410, 2), (403, 2), (503, 6), (429, 6)])
async def test_dead_links_are_tried_twice_and_busy_servers_more_often(
    serve, upstream, runs, behaviours, status: int, tries: int
) -> None:
    results = await serve(behaviours.answer(status))
    server = await serve(behaviours.answer(200, {"images": [f"{results.url}/0.png"]}))
    fetcher = ImageFetcher(resolver=SystemResolver())
    policy = FetchPolicy(allowed_origins=frozenset({results.url}))
    runs.download = lambda url: fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.PROVIDER)
    await runs.fails(upstream(server.url))
    await fetcher.aclose()
    assert len(results.received) == tries
