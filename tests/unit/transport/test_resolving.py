"""Names are looked up without anybody's waiting for a name server of somebody else's."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from name_server import name_server

from service.concurrency.tasks import ended, started
from service.core.errors import GatewayError
from service.providers.http import SignableRequest
from service.transport.client import open_client
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.resolving import HostileNameResolver, SystemResolver
from service.transport.send import send


class Stuck:
    """A lookup that takes until it is let go."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str, port: None, **_: Any) -> list[tuple[Any, ...]]:
        self.names.append(host)
        assert self.let_go.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]


class TestNamesOfProviders:
    async def test_the_system_s_own_names_are_known(self) -> None:
        assert "127.0.0.1" in await SystemResolver()("localhost", 443)

    async def test_a_name_that_does_not_exist_is_an_error(self) -> None:
        with pytest.raises(OSError, match=r"."):
            await SystemResolver()("no-such-host.invalid", 443)

    @pytest.mark.parametrize("name", ["a" * 64, "\udc80", "a..b"])
    async def test_a_name_that_cannot_be_one_is_an_error(self, name: str) -> None:
        with pytest.raises(OSError, match=r"."):
            await SystemResolver()(name, 443)

    async def test_those_who_want_one_name_share_one_thread(self) -> None:
        stuck = Stuck()
        resolver = SystemResolver(getaddrinfo=stuck)
        waiting = [started(resolver("one.test", 443)) for _ in range(20)]
        await asyncio.sleep(0)
        stuck.let_go.set()
        assert await asyncio.gather(*waiting) == [["192.0.2.7"]] * 20
        assert stuck.names == ["one.test"]

    async def test_a_wait_is_bounded_and_takes_no_second_thread(self) -> None:
        stuck = Stuck()
        resolver = SystemResolver(timeout_s=0.05, getaddrinfo=stuck)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await resolver("silent.test", 443)
        assert stuck.names == ["silent.test"]
        stuck.let_go.set()

    async def test_the_number_of_names_under_way_is_bounded(self) -> None:
        stuck = Stuck()
        resolver = SystemResolver(most=2, getaddrinfo=stuck)
        waiting = [started(resolver(f"{number}.test", 443)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="too many"):
            await resolver("third.test", 443)
        stuck.let_go.set()
        await asyncio.gather(*waiting)
        assert await resolver("third.test", 443) == ["192.0.2.7"]

    async def test_the_zone_of_an_address_local_to_a_link_is_kept(self) -> None:
        def link_local(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 3))]

        assert await SystemResolver(getaddrinfo=link_local)("printer.test", 443) == ["fe80::1%3"]


class TestNamesOfCallers:
    async def test_the_name_servers_are_asked(self) -> None:
        async with name_server({"images.test": "192.0.2.7", "six.test": "2001:db8::7"}) as server:
            resolver = HostileNameResolver(name_servers=[server.address])
            assert await resolver("images.test", 443) == ["192.0.2.7"]
            assert await resolver("six.test", 443) == ["2001:db8::7"]
            await resolver.aclose()

    async def test_silent_names_beyond_the_bound_wait_for_their_turn_and_no_longer_than_allowed(self) -> None:
        async with name_server({"images.test": "192.0.2.7"}) as server:
            resolver = HostileNameResolver(timeout_s=0.4, most=4, name_servers=[server.address])
            silent = [started(resolver(f"{number}.silent.test", 443)) for number in range(20)]
            ends = await asyncio.gather(*silent, return_exceptions=True)
            assert {isinstance(end, OSError) for end in ends} == {True}
            assert await resolver("images.test", 443) == ["192.0.2.7"]
            await resolver.aclose()

    @pytest.mark.parametrize("name", ["a..b", "xn--", "-", "*", "a" * 64 + ".test", "." * 300, "a b", "%00"])
    async def test_names_that_are_none_are_errors(self, name: str) -> None:
        async with name_server() as server:
            resolver = HostileNameResolver(timeout_s=0.1, name_servers=[server.address])
            with pytest.raises(OSError, match=r".|\A\Z"):
                await resolver(name, 443)
            await resolver.aclose()

    async def test_while_their_name_servers_are_silent_providers_are_reached_by_name(self, serve, behaviours) -> None:
        provider = await serve(behaviours.answer(200, b"made"))
        async with name_server() as silent, open_client() as client:
            resolver = HostileNameResolver(timeout_s=30, name_servers=[silent.address])
            fetcher = ImageFetcher(resolver=resolver)
            held = [
                started(
                    fetcher.fetch_image_url(
                        f"https://{number}.silent.test/a.png", policy=FetchPolicy(), chosen_by=ChosenBy.CALLER
                    )
                )
                for number in range(100)
            ]
            async with asyncio.timeout(10):
                while len(silent.asked) < 64:  # noqa: ASYNC110  # the datagrams are the event
                    await asyncio.sleep(0.01)
            request = SignableRequest("POST", f"http://localhost:{provider.port}/", {}, b"{}")
            answer = await send(client, request, timeout_s=10, max_response_bytes=100)
            assert answer.body == b"made"
            assert not any(task.done() for task in held)
            await ended(held)
            await fetcher.aclose()
            await resolver.aclose()

    async def test_a_url_whose_name_server_is_silent_is_the_caller_s_to_mend(self) -> None:
        async with name_server() as silent:
            resolver = HostileNameResolver(timeout_s=0.1, name_servers=[silent.address])
            fetcher = ImageFetcher(resolver=resolver)
            with pytest.raises(GatewayError, match="could not be looked up") as caught:
                await fetcher.fetch_image_url(
                    "https://silent.test/a.png", policy=FetchPolicy(), chosen_by=ChosenBy.CALLER
                )
            assert caught.value.param == "image_url"
            await fetcher.aclose()
            await resolver.aclose()
