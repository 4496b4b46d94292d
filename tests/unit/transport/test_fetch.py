"""The guarded fetcher against real servers on loopback, which only tests may vouch for."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.resolving import HostileNameResolver

BODY = b"\x89PNG\r\n\x1a\n and the rest"
# To load the public authorities for every test takes its time.
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Answer = Callable[[bytes], bytes]
Serve = Callable[..., Awaitable[int]]


def ok(body: bytes = BODY, *, extra: str = "", length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    return f"HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n{extra}\r\n".encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.fixture
def requests() -> list[bytes]:
    """The requests that the servers of this test have received, as bytes."""
    return []


@pytest.fixture
async def serve(requests: list[bytes]) -> AsyncIterator[Serve]:
    """Starts a server that answers every request with what ``answer`` makes of it; returns its port."""
    servers: list[asyncio.Server] = []

    async def start(answer: Answer, *, tls: ssl.SSLContext | None = None, hang: bool = False) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                request = await reader.readuntil(b"\r\n\r\n")
                requests.append(request)
                writer.write(answer(request))
                await writer.drain()
                if hang:
                    await reader.read()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


async def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def fetch(url: str, *, origins: Collection[str] = (), chosen_by: ChosenBy = ChosenBy.CALLER, **limits) -> bytes:
    resolver = limits.pop("resolver", to_loopback)
    fetcher = ImageFetcher(resolver=resolver, ssl_context=limits.pop("ssl_context", TRUSTS_NOBODY))
    try:
        policy = FetchPolicy(allowed_origins=frozenset(origins), **limits)
        return await fetcher.fetch_image_url(url, policy=policy, chosen_by=chosen_by)
    finally:
        await fetcher.aclose()


async def refusal(url: str, **options) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await fetch(url, **options)
    return caught.value


class TestWhoseFaultItIs:
    async def test_a_callers_bad_url_is_the_callers_fault(self) -> None:
        error = await refusal("ftp://example.org/a.png")
        assert (error.kind, error.code, error.param) == (ErrorKind.INVALID_REQUEST, "invalid_image_url", "image_url")

    async def test_a_providers_bad_url_is_the_providers_fault(self) -> None:
        error = await refusal("ftp://example.org/a.png", chosen_by=ChosenBy.PROVIDER)
        assert error.kind is ErrorKind.BAD_RESPONSE

    async def test_messages_do_not_repeat_the_url_whose_query_may_be_a_credential(self) -> None:
        error = await refusal("https://example.org:444/a.png?token=hunter2")
        assert "hunter2" not in error.message
        assert "hunter2" not in repr(error)


class TestUrlsRefusedUnresolved:
    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("http://example.org/a.png", "not an https"),
            ("file:///etc/passwd", "not an https"),
            ("gopher://example.org/", "not an https"),
            ("/etc/passwd", "not an https"),
            ("", "not an https"),
            ("https://", "no host"),
            ("https://user:password@example.org/a.png", "credentials"),
            ("https://user@example.org/a.png", "credentials"),
            ("https://example.org:8443/a.png", "port"),
            ("https://example.org:22/a.png", "port"),
            ("https://example.org:99999/a.png", "port"),
            ("https://exam\x00ple.org/a.png", "valid URL"),
            ("https://[::1/a.png", "valid URL"),
            ("https://[fe80::1%25eth0]/a.png", "public address"),
            ("https://[fe80::1%eth0]/a.png", "public address"),
            ("https://a..b/a.png", "neither a name nor an address"),
            ("https://.example.org/a.png", "neither a name nor an address"),
            ("https://./a.png", "neither a name nor an address"),
            ("https://" + "a" * 64 + ".org/a.png", "neither a name nor an address"),
            ("https://" + "a." * 130 + "org/a.png", "neither a name nor an address"),
            ("https://*.example.org/a.png", "neither a name nor an address"),
            ("https://example.org:0/a.png", "port"),
            ("https://@example.org:25/a.png", "port"),
            ("https://example.org/" + "a" * 9000, "longer"),
        ],
    )
    async def test_refused(self, url: str, why: str) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            raise AssertionError("must not be resolved")

        assert why in (await refusal(url, resolver=resolver)).message


PIECES = (
    *("https://", "http://", "data:", "image/png;base64,", "xn--", "xn--a", "zz--", ".", "..", "[", "]", "::1"),
    *("%25", "%", "eth0", ":", ":443", "@", "user", "/", "\\", "?", "#", "=", "&", "-", "_", "*", " ", "\t", "\x00"),
    *("127.0.0.1", "0x7f", "1" * 20, "a", "a" * 64, "é", "ß", "☃", "\u0663", "\uff41", "\u00ad", "\u202e", "\ud800"),
)


class TestUrlsThatAreNone:
    @pytest.mark.parametrize("host", ["xn--", "xn--a", "xn--zz--", "xn--\u00e4", "a.xn--.org", "xn--.xn--"])
    async def test_a_label_that_only_looks_encoded_is_refused(self, host: str) -> None:
        async def no_such_name(host: str, port: int) -> list[str]:
            raise OSError("no such name")

        error = await refusal(f"https://{host}/", resolver=no_such_name)
        assert (error.kind, error.param) == (ErrorKind.INVALID_REQUEST, "image_url")

    @given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=30).map("https://{}".format))
    def test_whatever_it_is_the_caller_is_told_and_nothing_of_it_is_repeated(self, url: str) -> None:
        async def nowhere(host: str, port: int) -> list[str]:
            return []

        error = asyncio.run(refusal(url, resolver=nowhere))
        assert (error.kind, error.param) == (ErrorKind.INVALID_REQUEST, "image_url")


class TestAddresses:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "10.0.0.8", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"],
    )
    async def test_addresses_inside_are_refused(self, host: str) -> None:
        assert "public address" in (await refusal(f"https://{host}/latest/meta-data")).message

    @pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "localhost."])
    async def test_other_spellings_of_loopback_are_refused(self, host: str) -> None:
        assert "public address" in (await refusal(f"https://{host}/", resolver=HostileNameResolver())).message

    async def test_one_private_address_among_public_ones_is_refused(self) -> None:
        async def both(host: str, port: int) -> list[str]:
            return ["93.184.215.14", "10.0.0.1"]

        assert "public address" in (await refusal("https://mixed.test/", resolver=both)).message

    async def test_a_name_that_does_not_exist_gets_the_same_answer_as_a_private_one(self) -> None:
        async def nowhere(host: str, port: int) -> list[str]:
            raise OSError("no such name")

        missing = await refusal("https://a.test/", resolver=nowhere)
        private = await refusal("https://a.test/", resolver=to_loopback)
        assert missing.message == private.message

    async def test_the_name_is_resolved_once_so_a_second_answer_cannot_lead_inside(
        self, serve: Serve, requests: list[bytes]
    ) -> None:
        answers = iter([["127.0.0.1"], ["10.0.0.1"]])

        async def rebinding(host: str, port: int) -> list[str]:
            return next(answers)

        port = await serve(lambda _: ok())
        origin = f"http://rebinding.test:{port}"
        assert await fetch(f"{origin}/a.png", origins={origin}, resolver=rebinding) == BODY
        assert next(answers) == ["10.0.0.1"], "the second answer was never asked for"

    async def test_further_addresses_are_tried_when_one_does_not_answer(self, serve: Serve) -> None:
        async def several(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]

        port = await serve(lambda _: ok())
        origin = f"http://several.test:{port}"
        assert await fetch(f"{origin}/", origins={origin}, resolver=several) == BODY


class TestRequests:
    async def test_the_request_is_plain_and_holds_the_name_but_no_credential(
        self, serve: Serve, requests: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        port = await serve(lambda _: ok())
        origin = f"http://upstream.test:{port}"
        assert await fetch(f"{origin}/a.png?x=1#part", origins={origin}) == BODY
        head, *fields = requests[0].decode().strip().split("\r\n")
        names = {field.partition(":")[0].lower() for field in fields}
        assert head == "GET /a.png?x=1 HTTP/1.1"
        assert f"host: upstream.test:{port}" in [field.lower() for field in fields]
        assert "accept-encoding: identity" in [field.lower() for field in fields]
        assert names == {"host", "accept", "accept-encoding", "connection", "user-agent"}

    async def test_cookies_of_one_answer_are_not_sent_with_the_next_request(
        self, serve: Serve, requests: list[bytes]
    ) -> None:
        port = await serve(lambda _: ok(extra="set-cookie: session=1\r\n"))
        origin = f"http://upstream.test:{port}"
        fetcher = ImageFetcher(resolver=to_loopback)
        policy = FetchPolicy(allowed_origins=frozenset({origin}))
        for _ in range(2):
            await fetcher.fetch_image_url(f"{origin}/", policy=policy, chosen_by=ChosenBy.CALLER)
        await fetcher.aclose()
        assert b"cookie" not in requests[1].lower()


class TestRedirects:
    async def test_redirects_are_followed_and_lose_nothing(self, serve: Serve, requests: list[bytes]) -> None:
        port = await serve(lambda request: redirect("/b.png", 307) if b"/a.png" in request else ok())
        origin = f"http://upstream.test:{port}"
        assert await fetch(f"{origin}/a.png", origins={origin}) == BODY
        assert b"referer" not in requests[1].lower()

    @pytest.mark.parametrize(
        ("location", "why"),
        [
            ("https://127.0.0.1/latest", "public address"),
            ("https://inside.test/latest", "public address"),
            ("http://example.org/a.png", "not an https"),
            ("https://example.org:8443/", "port"),
            ("https://user:secret@example.org/", "credentials"),
            ("file:///etc/passwd", "not an https"),
            ("data:image/png;base64,AAAA", "not an https"),
            ("https://[::1", "valid URL"),
        ],
    )
    async def test_every_hop_is_checked_like_the_first(self, serve: Serve, location: str, why: str) -> None:
        port = await serve(lambda _: redirect(location))
        origin = f"http://upstream.test:{port}"
        assert why in (await refusal(f"{origin}/", origins={origin})).message

    async def test_the_number_of_redirects_is_limited(self, serve: Serve, requests: list[bytes]) -> None:
        port = await serve(lambda _: redirect("/again"))
        origin = f"http://upstream.test:{port}"
        assert "more than 3 times" in (await refusal(f"{origin}/", origins={origin})).message
        assert len(requests) == 4

    async def test_a_redirect_without_a_target_is_refused(self, serve: Serve) -> None:
        port = await serve(lambda _: b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n")
        origin = f"http://upstream.test:{port}"
        assert "nowhere" in (await refusal(f"{origin}/", origins={origin})).message


class TestAnswers:
    @pytest.mark.parametrize("size", [100, 101])
    async def test_the_byte_cap_is_exact(self, serve: Serve, size: int) -> None:
        port = await serve(lambda _: ok(b"x" * size))
        origin = f"http://upstream.test:{port}"
        if size == 100:
            assert len(await fetch(f"{origin}/", origins={origin}, max_bytes=100)) == 100
        else:
            assert "100 bytes" in (await refusal(f"{origin}/", origins={origin}, max_bytes=100)).message

    async def test_the_cap_holds_without_a_content_length(self, serve: Serve) -> None:
        port = await serve(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)
        origin = f"http://upstream.test:{port}"
        assert "1000 bytes" in (await refusal(f"{origin}/", origins={origin}, max_bytes=1000)).message

    async def test_the_cap_holds_for_chunks(self, serve: Serve) -> None:
        chunks = b"".join(b"3e8\r\n" + b"x" * 1000 + b"\r\n" for _ in range(50))
        port = await serve(lambda _: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks, hang=True)
        origin = f"http://upstream.test:{port}"
        assert "10000 bytes" in (await refusal(f"{origin}/", origins={origin}, max_bytes=10_000)).message

    async def test_an_announced_length_over_the_cap_is_refused_before_the_body_arrives(self, serve: Serve) -> None:
        port = await serve(lambda _: ok(b"", length=10**15), hang=True)
        origin = f"http://upstream.test:{port}"
        assert "bytes" in (await refusal(f"{origin}/", origins={origin})).message

    async def test_a_body_shorter_than_announced_is_refused(self, serve: Serve) -> None:
        port = await serve(lambda _: ok(b"half", length=8))
        origin = f"http://upstream.test:{port}"
        assert "broke off" in (await refusal(f"{origin}/", origins={origin})).message

    @pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
    async def test_compressed_content_is_refused(self, serve: Serve, encoding: str) -> None:
        port = await serve(lambda _: ok(extra=f"content-encoding: {encoding}\r\n"))
        origin = f"http://upstream.test:{port}"
        assert "compressed" in (await refusal(f"{origin}/", origins={origin})).message

    @pytest.mark.parametrize("status", [204, 206, 304, 403, 404, 500])
    async def test_other_statuses_than_200_are_refused(self, serve: Serve, status: int) -> None:
        port = await serve(lambda _: f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
        origin = f"http://upstream.test:{port}"
        assert f"status {status}" in (await refusal(f"{origin}/", origins={origin})).message

    @pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"])
    async def test_what_is_not_http_is_refused(self, serve: Serve, answer: bytes) -> None:
        port = await serve(lambda _: answer)
        origin = f"http://upstream.test:{port}"
        assert "could not be fetched" in (await refusal(f"{origin}/", origins={origin})).message

    async def test_the_time_cap_ends_a_server_that_hangs(self, serve: Serve) -> None:
        port = await serve(lambda _: ok(b"half", length=8), hang=True)
        origin = f"http://upstream.test:{port}"
        assert "took longer" in (await refusal(f"{origin}/", origins={origin}, timeout_s=0.05)).message

    async def test_the_time_cap_ends_a_resolver_that_hangs(self) -> None:
        async def never(host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

        assert "took longer" in (await refusal("https://slow.test/", resolver=never, timeout_s=0.05)).message


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def trusting(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    @staticmethod
    def certified(authority: trustme.CA, name: str, seen: list[str | None]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        context.sni_callback = lambda _, server_name, __: seen.append(server_name)
        return context

    async def test_the_name_and_not_the_address_is_sent_and_verified(
        self, serve: Serve, requests: list[bytes], authority: trustme.CA, trusting: ssl.SSLContext
    ) -> None:
        seen: list[str | None] = []
        port = await serve(lambda _: ok(), tls=self.certified(authority, "images.test", seen))
        origin = f"https://images.test:{port}"
        assert await fetch(f"{origin}/a.png", origins={origin}, ssl_context=trusting) == BODY
        assert seen == ["images.test"]
        assert f"host: images.test:{port}".encode() in requests[0].lower()

    async def test_a_certificate_for_another_name_is_refused_even_after_a_good_one_at_the_same_address(
        self, serve: Serve, authority: trustme.CA, trusting: ssl.SSLContext
    ) -> None:
        port = await serve(lambda _: ok(), tls=self.certified(authority, "images.test", []))
        fetcher = ImageFetcher(resolver=to_loopback, ssl_context=trusting)
        origins = frozenset({f"https://images.test:{port}", f"https://other.test:{port}"})
        policy = FetchPolicy(allowed_origins=origins)
        await fetcher.fetch_image_url(f"https://images.test:{port}/", policy=policy, chosen_by=ChosenBy.CALLER)
        with pytest.raises(GatewayError, match="certificate is not valid"):
            await fetcher.fetch_image_url(f"https://other.test:{port}/", policy=policy, chosen_by=ChosenBy.CALLER)
        await fetcher.aclose()

    async def test_a_certificate_of_an_unknown_authority_is_refused(self, serve: Serve, authority: trustme.CA) -> None:
        port = await serve(lambda _: ok(), tls=self.certified(authority, "images.test", []))
        origin = f"https://images.test:{port}"
        assert "certificate is not valid" in (await refusal(f"{origin}/", origins={origin})).message


class TestDataUrls:
    async def test_the_bytes_are_decoded(self) -> None:
        encoded = base64.b64encode(BODY).decode()
        assert await fetch(f"data:image/png;base64,{encoded}") == BODY
        assert await fetch(f"DATA:image/svg+xml;charset=utf-8;BASE64,{encoded}") == BODY

    @pytest.mark.parametrize(
        "url",
        [
            "data:",
            "data:,hello",
            "data:image/png,hello",
            "data:text/html;base64,AAAA",
            "data:;base64,AAAA",
            "data:image/png;base64",
            "data:image/png;base64,",
            "data:image/png;base64,AAA",
            "data:image/png;base64,AA AA",
            "data:image/png;base64,AA%2B",
            "data:image/png;base64,AA_-",
            "data:image/png;base64,AAAA=AAA",
            "data:image/png;base64,ÄÄÄÄ",
        ],
    )
    async def test_other_forms_are_refused(self, url: str) -> None:
        assert (await refusal(url)).code == "invalid_image_url"

    @pytest.mark.parametrize("size", [99, 100, 101, 102, 103, 1000])
    async def test_the_byte_cap_is_exact(self, size: int) -> None:
        url = "data:image/png;base64," + base64.b64encode(b"x" * size).decode()
        if size <= 100:
            assert len(await fetch(url, max_bytes=100)) == size
        else:
            assert "100 bytes" in (await refusal(url, max_bytes=100)).message


@pytest.mark.parametrize("origin", ["", "127.0.0.1:9000", "ftp://a.test", "http://a.test/path", "http://u@a.test"])
def test_an_allowed_origin_that_is_none_is_a_mistake_in_the_policy(origin: str) -> None:
    with pytest.raises(ValueError, match="allowed origin"):
        FetchPolicy(allowed_origins=frozenset({origin}))


async def test_an_allowed_origin_vouches_for_no_other_port_scheme_or_name(serve: Serve) -> None:
    port = await serve(lambda _: ok())
    origins = {f"http://Upstream.test:{port}/"}
    assert await fetch(f"http://upstream.test:{port}/a.png", origins=origins) == BODY
    assert (await refusal(f"https://upstream.test:{port}/", origins=origins)).code == "invalid_image_url"
    assert (await refusal(f"http://upstream.test:{port + 1}/", origins=origins)).code == "invalid_image_url"
    assert (await refusal(f"http://other.test:{port}/", origins=origins)).code == "invalid_image_url"
