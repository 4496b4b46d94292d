"""Proxies and certificates of our own, against a real proxy and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.providers.http import SignableRequest
from service.transport.certificates import trust_store
from service.transport.client import open_client
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.send import send
from service.transport.way import DIRECT, Proxies, Way

NAME = "provider.test"


@dataclass
class Proxy:
    """An HTTP proxy that knows one server, whatever it is asked for.

    Attributes:
        refusal: The status it answers CONNECT with, instead of connecting.
        heads: Every request's head.
    """

    server_port: int
    refusal: int = 0
    heads: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://someone:pass%20word@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.refusal:
            writer.write(f"HTTP/1.1 {self.refusal} No\r\ncontent-length: 0\r\n\r\n".encode())
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            up_writer.write(head.encode())
        away = started(_copied(reader, up_writer))
        await _copied(up_reader, writer)
        away.cancel()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    """A file with our authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
async def server(serve, behaviours, authority: trustme.CA):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    return await serve(behaviours.answer(200, b"made"), ssl=context)


@pytest.fixture
async def proxy(server) -> AsyncIterator[Proxy]:
    made = Proxy(server.port)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


async def nobody(host: str, port: int) -> list[str]:
    """No name can be resolved within many companies' networks; only their proxy can."""
    if host == "127.0.0.1":
        return [host]
    raise OSError("no such name")


async def called(url: str, way: Way, ca_file: str = "") -> bytes:
    async with open_client(ssl_context=trust_store(ca_file), resolver=nobody) as client:
        request = SignableRequest("POST", url, {"authorization": "Bearer provider-key"}, b"{}")
        return (await send(client, request, timeout_s=10, max_response_bytes=100, way=way)).body


class TestCalls:
    async def test_the_proxy_connects_and_sees_neither_key_nor_body(self, proxy: Proxy, server, trusted: str) -> None:
        assert await called(f"https://{NAME}/v1", Way(Proxies(proxy.url)), trusted) == b"made"
        [head] = proxy.heads
        assert head.startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n")
        assert "provider-key" not in head
        # someone:pass word
        assert "proxy-authorization: basic c29tzw9uztpwyxnzihdvcmq=" in head.lower()
        [received] = server.received
        assert received.headers["authorization"] == "Bearer provider-key"
        assert "proxy-authorization" not in received.headers

    @pytest.mark.parametrize("status", [407, 403, 502])
    async def test_a_proxy_that_refuses_has_passed_nothing_on(self, proxy: Proxy, trusted: str, status: int) -> None:
        proxy.refusal = status
        with pytest.raises(GatewayError, match=str(status)) as caught:
            await called(f"https://{NAME}/v1", Way(Proxies(proxy.url)), trusted)
        assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UNAVAILABLE, False)
        assert "pass" not in caught.value.message

    async def test_a_proxy_that_is_not_there_has_passed_nothing_on(self, refused_url: str, trusted: str) -> None:
        with pytest.raises(GatewayError) as caught:
            await called(f"https://{NAME}/v1", Way(Proxies(refused_url)), trusted)
        assert (caught.value.kind, caught.value.may_have_run) == (ErrorKind.UNAVAILABLE, False)

    async def test_the_server_s_own_certificate_is_verified_through_it(self, proxy: Proxy) -> None:
        with pytest.raises(GatewayError) as caught:
            await called(f"https://{NAME}/v1", Way(Proxies(proxy.url)))
        assert caught.value.may_have_run is False

    async def test_a_whole_call_goes_through_it(self, proxy: Proxy, serve, behaviours, upstream, runs) -> None:
        plain = await serve(behaviours.answer(200, {"images": ["a"]}))
        proxy.server_port = plain.port
        target = dataclasses.replace(upstream("http://sd.test"), way=Way(Proxies(proxy.url, always=True)))
        await runs(target)
        assert proxy.heads[0].startswith("POST http://sd.test/jobs HTTP/1.1")


class TestDownloads:
    @staticmethod
    async def fetched(url: str, proxies: Proxies, ca_file: str, *addresses: str, origins=frozenset()) -> bytes:
        async def resolver(host: str, port: int) -> list[str]:
            return list(addresses)

        fetcher = ImageFetcher(resolver=resolver, ssl_context=trust_store(ca_file), proxies=proxies)
        try:
            policy = FetchPolicy(allowed_origins=frozenset(origins))
            return await fetcher.fetch_image_url(url, policy=policy, chosen_by=ChosenBy.CALLER)
        finally:
            await fetcher.aclose()

    async def test_the_proxy_is_told_a_checked_address_and_the_server_its_name(
        self, proxy: Proxy, server, trusted: str
    ) -> None:
        addresses = ("2606:4700::1", "93.184.215.14")
        assert await self.fetched(f"https://{NAME}/a.png", Proxies(proxy.url), trusted, *addresses) == b"made"
        assert proxy.heads[0].startswith("CONNECT 93.184.215.14:443 HTTP/1.1\r\n")
        assert server.received[0].headers["host"] == NAME

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1"])
    async def test_the_guard_holds_through_it(self, proxy: Proxy, trusted: str, address: str) -> None:
        with pytest.raises(GatewayError, match="public address"):
            await self.fetched(f"https://{NAME}/a.png", Proxies(proxy.url), trusted, address)
        assert proxy.heads == []

    async def test_a_name_that_only_the_proxy_could_resolve_is_refused(self, proxy: Proxy, trusted: str) -> None:
        with pytest.raises(GatewayError, match="public address"):
            await self.fetched(f"https://{NAME}/a.png", Proxies(proxy.url), trusted)
        assert proxy.heads == []

    async def test_a_proxy_that_takes_no_addresses_is_told_of(self, proxy: Proxy, trusted: str) -> None:
        proxy.refusal = 403
        with pytest.raises(GatewayError, match="proxy did not let the request through"):
            await self.fetched(f"https://{NAME}/a.png", Proxies(proxy.url), trusted, "93.184.215.14")


class TestWhichUrls:
    @pytest.mark.parametrize(
        ("url", "bypass", "goes_through"),
        [
            ("https://api.example.com/v1", (), True),
            ("https://api.example.com/v1", ("example.com",), False),
            ("https://api.example.com/v1", (".example.com",), False),
            ("https://api.example.com/v1", ("*.Example.com",), False),
            ("https://badexample.com/v1", ("example.com",), True),
            ("https://api.example.com/v1", ("*",), False),
            ("https://10.1.2.3/v1", ("10.0.0.0/8",), False),
            ("https://11.1.2.3/v1", ("10.0.0.0/8",), True),
            ("https://[2001:db8::1]/v1", ("2001:db8::/32",), False),
            ("http://sd.example.com/v1", (), False),
            ("https://localhost:8443/v1", (), False),
            ("https://127.0.0.1:8443/v1", (), False),
            ("https://[::1]/v1", (), False),
            ("https://api.example.com/v1", ("",), True),
        ],
    )
    def test_is_as_operators_know_it(self, url: str, bypass: tuple[str, ...], goes_through: bool) -> None:
        assert bool(Proxies("http://proxy.test:3128", bypass).for_url(url)) is goes_through

    def test_a_provider_s_own_proxy_is_for_all_of_its_urls(self) -> None:
        assert Proxies("http://proxy.test:3128", always=True).for_url("http://127.0.0.1/") == "http://proxy.test:3128"

    def test_without_one_everything_is_reached_directly(self) -> None:
        assert DIRECT.proxies.for_url("https://api.example.com/") == ""

    def test_its_password_is_not_shown(self) -> None:
        assert "word" not in repr(Way(Proxies("http://someone:password@proxy.test")))


class TestCertificatesOfOurOwn:
    @pytest.fixture
    async def strict_server(self, serve, behaviours, authority: trustme.CA):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return await serve(behaviours.answer(200, b"made"), ssl=context)

    async def test_one_is_shown_to_a_server_that_asks(
        self, strict_server, authority: trustme.CA, trusted: str, tmp_path: Path
    ) -> None:
        ours = authority.issue_cert("gateway.test")
        ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        way = Way(ssl_context=trust_store(trusted, certificate=str(tmp_path / "client.pem")))
        assert await called(f"https://127.0.0.1:{strict_server.port}/", way) == b"made"

    async def test_without_one_it_refuses(self, strict_server, trusted: str) -> None:
        with pytest.raises(GatewayError):
            await called(f"https://127.0.0.1:{strict_server.port}/", DIRECT, trusted)
        assert strict_server.received == []
