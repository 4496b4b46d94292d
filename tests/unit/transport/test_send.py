"""One request over a real socket: what becomes of it when the other side misbehaves."""

import asyncio
import gzip
import socket
import ssl

import httpx
import pytest
import trustme

from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.providers.http import SignableRequest
from service.transport.client import open_client
from service.transport.send import send


def request(url, body=b"x" * 1000, **headers):
    return SignableRequest("POST", url + "/path", headers, body)


async def sent(client, url, *, timeout_s=10.0, most=1_000_000, **more):
    return await send(client, request(url, **more), timeout_s=timeout_s, max_response_bytes=most)


async def failure(client, url, **more):
    with pytest.raises(GatewayError) as caught:
        await sent(client, url, **more)
    return caught.value


async def test_a_response_is_returned_whatever_its_status(client, serve, behaviours):
    server = await serve(behaviours.answer(429, b"slow down", Retry_After="7"))
    response = await sent(client, server.url)
    assert (response.status, response.body, response.headers["retry-after"]) == (429, b"slow down", "7")


async def test_method_path_headers_and_body_arrive_as_they_are(client, serve, behaviours):
    server = await serve(behaviours.answer(200))
    await sent(client, server.url, body=b"\x00body", authorization="Bearer k", **{"content-type": "image/png"})
    [received] = server.received
    assert (received.method, received.path, received.body) == ("POST", "/path", b"\x00body")
    assert received.headers["authorization"] == "Bearer k"
    assert received.headers["content-type"] == "image/png"
    assert "python" not in received.headers["user-agent"]


@pytest.mark.parametrize("body", [(b"--a", b"x" * 3_000_000, b"a--"), b"--a" + b"x" * 3_000_000 + b"a--"])
async def test_a_long_body_arrives_in_one_with_its_length(client, serve, behaviours, body):
    server = await serve(behaviours.answer(200))
    await sent(client, server.url, body=body)
    [received] = server.received
    assert received.body == b"--a" + b"x" * 3_000_000 + b"a--"
    assert received.headers["content-length"] == "3000006"
    assert "transfer-encoding" not in received.headers


async def test_others_have_their_turn_while_a_long_body_is_sent():
    class Greedy(httpx.AsyncBaseTransport):
        """Takes whatever it can have, as a socket does whose other side is quick."""

        pieces = 0

        async def handle_async_request(self, request):
            async for _ in request.stream:
                self.pieces += 1
            return httpx.Response(200, stream=httpx.ByteStream(b""))

    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    greedy, other = Greedy(), started(count_turns())
    await sent(greedy, "http://127.0.0.1", body=b"x" * 10_000_000)
    other.cancel()
    assert turns >= greedy.pieces >= 39


async def test_nothing_is_said_that_nobody_asked_for(client, serve, behaviours):
    server = await serve(behaviours.answer(200))
    empty = SignableRequest("GET", f"{server.url}/job", {}, b"")
    await send(client, empty, timeout_s=10, max_response_bytes=1000)
    assert set(server.received[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}


async def test_a_url_goes_over_the_wire_to_the_letter(client, serve, behaviours):
    # A signature may cover it: neither is %3A a colon there, nor + a blank.
    path = "/model/stability.sd3%3A0/invoke?X-Signature=a%2Fb%20c+d&empty="
    server = await serve(behaviours.answer(200))
    await send(client, SignableRequest("GET", server.url + path, {}, b""), timeout_s=10, max_response_bytes=1000)
    assert server.received[0].path == path


async def test_a_port_that_does_not_exist_surely_did_not_run(client):
    error = await failure(client, "http://127.0.0.1:99999")
    assert (error.kind, error.may_have_run) == (ErrorKind.INTERNAL, False)


async def test_a_header_of_two_lines_is_not_sent(client, serve, behaviours):
    server = await serve(behaviours.answer(200))
    await failure(client, server.url, **{"x-note": "one\r\ntwo: 2"})
    assert server.received == []


@pytest.mark.parametrize(
    "answer", [b"", b"this is not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut"]
)
async def test_failures_hold_neither_url_nor_key(client, serve, behaviours, answer):
    server = await serve(behaviours.raw(answer))
    error = await failure(client, f"{server.url}/secret-path", authorization="Bearer secret-key")
    chain: list[BaseException] = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    assert "secret" not in " ".join(f"{each} {each!r} {vars(each)}" for each in chain)


async def test_certificates_are_verified(serve, behaviours):
    authority = trustme.CA()
    certified = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certified)
    server = await serve(behaviours.answer(200, b"secret"), ssl=certified)
    url = server.url.replace("http:", "https:")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with open_client(ssl_context=trusting) as client:
        assert (await sent(client, url, body=b"x" * 3_000_000)).body == b"secret"
    async with open_client() as unacquainted:
        error = await failure(unacquainted, url)
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, False)
    assert len(server.received) == 1


async def test_a_refused_connection_surely_did_not_run(client, refused_url):
    error = await failure(client, refused_url)
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, False)


async def test_a_host_that_does_not_exist_surely_did_not_run(client):
    error = await failure(client, "http://no-such-host.invalid")
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, False)


async def test_a_tls_handshake_that_fails_surely_did_not_run(serve, behaviours):
    no_tls = await serve(behaviours.hang)
    async with open_client(connect_timeout_s=0.2) as impatient:
        error = await failure(impatient, no_tls.url.replace("http:", "https:"))
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, False)


@pytest.mark.parametrize(
    ("data", "then_reset", "kind"),
    [
        (b"", True, ErrorKind.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", True, ErrorKind.UNAVAILABLE),
        (b"", False, ErrorKind.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", False, ErrorKind.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nabc", False, ErrorKind.BAD_RESPONSE),
        (b"this is not HTTP\r\n\r\n", False, ErrorKind.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, False, ErrorKind.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nab", False, ErrorKind.BAD_RESPONSE),
    ],
    ids=["reset", "reset mid body", "closed", "cut short", "bad chunk", "no HTTP", "endless head", "unknown coding"],
)
async def test_what_breaks_after_the_request_was_sent_may_have_run(client, serve, behaviours, data, then_reset, kind):
    server = await serve(behaviours.raw(data, then_reset=then_reset))
    error = await failure(client, server.url)
    assert (error.kind, error.may_have_run) == (kind, True)


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_kept_connection_that_breaks_is_not_used_again_behind_our_back(client, serve, behaviours, method):
    server = await serve(behaviours.answer(200), behaviours.raw(b"", then_reset=True), behaviours.answer(200))
    await sent(client, server.url)
    again = SignableRequest(method, server.url, {}, b"")
    with pytest.raises(GatewayError) as caught:
        await send(client, again, timeout_s=10, max_response_bytes=1000)
    assert caught.value.may_have_run
    assert len(server.received) == 2


async def test_a_server_that_hangs_is_left_when_the_time_is_up(client, serve, behaviours):
    left = asyncio.Event()

    async def hang(_, connection):
        await connection.gone()
        left.set()

    server = await serve(hang)
    with pytest.raises(TimeoutError):
        await sent(client, server.url, timeout_s=0.2)
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_server_that_trickles_is_left_when_the_time_is_up(client, serve):
    async def trickle(_, connection):
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not connection.writer.is_closing():
            await connection.write(b"a")
            await asyncio.sleep(0.01)

    server = await serve(trickle)
    with pytest.raises(TimeoutError):
        await sent(client, server.url, timeout_s=0.2)


async def test_a_connection_nobody_accepts_surely_did_not_run(serve):
    # A listener whose queue is full drops further SYNs, as a firewall would.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        async with open_client(connect_timeout_s=0.2) as impatient:
            error = await failure(impatient, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for each in waiting:
            each.close()
    assert (error.kind, error.may_have_run) == (ErrorKind.UNAVAILABLE, False)


async def test_an_answer_over_the_limit_is_not_read_to_its_end(client, serve):
    async def endless(_, connection):
        await connection.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while not connection.writer.is_closing():
            await connection.write(b"a" * 65536)

    server = await serve(endless)
    error = await failure(client, server.url, most=100_000)
    assert (error.kind, error.may_have_run) == (ErrorKind.BAD_RESPONSE, True)
    assert "100000 bytes" in error.message


async def test_the_limit_is_of_the_unpacked_answer(client, serve, behaviours):
    bomb = gzip.compress(b"0" * 50_000_000)
    server = await serve(behaviours.answer(200, bomb, content_encoding="gzip"))
    error = await failure(client, server.url, most=1_000_000)
    assert error.kind is ErrorKind.BAD_RESPONSE


async def test_a_packed_answer_is_unpacked(client, serve, behaviours):
    server = await serve(behaviours.answer(200, gzip.compress(b"plain"), content_encoding="gzip"))
    assert (await sent(client, server.url)).body == b"plain"
    assert server.received[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "codings"),
    [
        (gzip.compress(bytes(range(256)) * 1000)[:-400], "gzip"),
        (b"no gzip", "gzip"),
        (gzip.compress(b"plain") + b"more", "gzip"),
        (gzip.compress(gzip.compress(b"plain")), "gzip, gzip"),
        (gzip.compress(b"plain"), "x-gzip"),
    ],
    ids=["cut short", "something else", "something behind it", "packed twice", "another name"],
)
async def test_what_cannot_be_unpacked_is_not_taken_for_the_answer(client, serve, behaviours, body, codings):
    server = await serve(behaviours.answer(200, body, content_encoding=codings))
    error = await failure(client, server.url)
    assert (error.kind, error.may_have_run) == (ErrorKind.BAD_RESPONSE, True)


async def test_several_packed_pieces_are_one_answer(client, serve, behaviours):
    body = gzip.compress(b"one ") + gzip.compress(b"x" * 900_000) + gzip.compress(b" two")
    server = await serve(behaviours.answer(200, body, content_encoding="gzip"))
    assert (await sent(client, server.url)).body == b"one " + b"x" * 900_000 + b" two"


async def test_an_answer_with_many_and_long_headers_is_heard(client, serve, behaviours):
    many = {f"x_{number}": "v" for number in range(200)}
    server = await serve(behaviours.answer(200, b"paid", content_security_policy="p" * 20_000, **many))
    assert (await sent(client, server.url)).body == b"paid"


async def test_a_long_error_body_is_cut_and_the_status_kept(client, serve, behaviours):
    server = await serve(behaviours.answer(500, b"e" * 3_000_000))
    response = await sent(client, server.url)
    assert (response.status, len(response.body)) == (500, 1_000_000)


async def test_an_error_whose_body_breaks_off_keeps_its_status(client, serve, behaviours):
    server = await serve(behaviours.raw(b"HTTP/1.1 429 X\r\nretry-after: 3\r\ncontent-length: 100\r\n\r\nabc"))
    response = await sent(client, server.url)
    assert (response.status, response.headers["retry-after"]) == (429, "3")


async def test_an_answer_before_the_upload_is_through_is_heard(client, serve):
    async def refuse_early(_, connection):
        await connection.write(b"HTTP/1.1 413 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await connection.gone()

    server = await serve(refuse_early)
    server.reads_bodies = False
    assert (await sent(client, server.url, body=b"x" * 5_000_000)).status == 413


async def test_redirects_are_not_followed(client, serve, behaviours):
    elsewhere = await serve(behaviours.answer(200))
    server = await serve(behaviours.answer(307, location=elsewhere.url))
    assert (await sent(client, server.url)).status == 307
    assert elsewhere.received == []


async def test_cookies_are_not_kept(client, serve, behaviours):
    server = await serve(behaviours.answer(200, set_cookie="caller=1; Path=/"))
    await sent(client, server.url)
    await sent(client, server.url)
    assert "cookie" not in server.received[1].headers


async def test_proxies_of_the_environment_are_not_used(serve, behaviours, monkeypatch):
    proxy = await serve(behaviours.answer(200))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    server = await serve(behaviours.answer(204))
    async with open_client() as opened:
        assert (await sent(opened, server.url)).status == 204
        assert (await failure(opened, "http://no-such-host.invalid")).kind is ErrorKind.UNAVAILABLE
        assert (await failure(opened, "https://no-such-host.invalid")).kind is ErrorKind.UNAVAILABLE
    assert proxy.received == []
