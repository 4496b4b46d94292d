"""The parts that reach out of this process: HTTP client, guarded fetcher, executor."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from service.config import Config
from service.config.fields import NO_PROXY
from service.config.providers import ProviderSettings
from service.gateway.gateway import FetchImage
from service.transport.certificates import trust_store
from service.transport.client import open_client
from service.transport.executor import Executor
from service.transport.fetch import ChosenBy, FetchPolicy, ImageFetcher
from service.transport.resolving import HostileNameResolver, SystemResolver
from service.transport.way import Proxies, Way


@dataclass(frozen=True, slots=True)
class Transport:
    """The parts that reach out of this process."""

    executor: Executor
    fetch_for_caller: FetchImage


@contextlib.asynccontextmanager
async def opened_transport(config: Config) -> AsyncIterator[Transport]:
    """The HTTP client, the guarded fetchers and the executor over them, closed in the end.

    Callers' URLs have a fetcher and a resolver of their own: nothing that they lead to holds up calls to providers or
    the download of results. All trust the same certificate authorities.
    """
    vouched_for = frozenset(config.allowed_image_url_origins)
    caller_policy = FetchPolicy(max_bytes=config.limits.request_bytes, allowed_origins=vouched_for)
    # A self-hosted provider hands out results where it is itself, be that a private address.
    provider_policy = FetchPolicy(
        max_bytes=config.limits.response_bytes, allowed_origins=vouched_for | _provider_origins(config)
    )
    async with contextlib.AsyncExitStack() as stack:
        trusted, connect_s, proxies = (
            trust_store(config.outbound.ca_file),
            config.timeouts.connect,
            general_proxies(config),
        )
        hostile_names = HostileNameResolver()
        stack.push_async_callback(hostile_names.aclose)
        callers = ImageFetcher(
            resolver=hostile_names, ssl_context=trusted, connect_timeout_s=connect_s, proxies=proxies
        )
        stack.push_async_callback(callers.aclose)
        results = ImageFetcher(
            resolver=SystemResolver(), ssl_context=trusted, connect_timeout_s=connect_s, proxies=proxies
        )
        stack.push_async_callback(results.aclose)
        client = open_client(connect_timeout_s=connect_s, ssl_context=trusted, resolver=SystemResolver())
        stack.push_async_callback(client.aclose)

        async def for_caller(url: str) -> bytes:
            return await callers.fetch_image_url(url, policy=caller_policy, chosen_by=ChosenBy.CALLER)

        async def for_provider(url: str) -> bytes:
            return await results.fetch_image_url(url, policy=provider_policy, chosen_by=ChosenBy.PROVIDER)

        executor = Executor(client, for_provider)
        stack.push_async_callback(executor.aclose)
        yield Transport(executor, for_caller)


def general_proxies(config: Config) -> Proxies:
    """The way out of this network, for whatever says nothing else."""
    return Proxies(_proxy_url(config.outbound.proxy), config.outbound.no_proxy)


def provider_way(settings: ProviderSettings, config: Config) -> Way:
    """The way to a provider."""
    general = general_proxies(config)
    proxies = general if settings.proxy is None else Proxies(_proxy_url(settings.proxy), always=True)
    if not settings.client_certificate:
        return Way(proxies)
    certificate, key = settings.client_certificate, settings.client_key
    return Way(proxies, trust_store(config.outbound.ca_file, certificate=certificate, key=key))


def _proxy_url(setting: SecretStr | None) -> str:
    text = "" if setting is None else setting.get_secret_value()
    return "" if text == NO_PROXY else text


def _provider_origins(config: Config) -> frozenset[str]:
    urls = [urlsplit(each.base_url) for each in config.providers.values() if each.enabled and each.base_url]
    return frozenset(f"{url.scheme}://{url.netloc}" for url in urls)
