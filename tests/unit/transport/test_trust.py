"""Which URLs a provider's key may be sent to."""

import pytest

from service.providers.base import Endpoint
from service.transport.trust import is_trusted

ENDPOINT = Endpoint("bfl", "https://api.bfl.ai/v1", (".bfl.ai", "queue.example.com"))
LOCAL = Endpoint("local", "http://127.0.0.1:9000", ())


@pytest.mark.parametrize(
    "url",
    [
        "https://api.bfl.ai/v1/get_result?id=1&x=%20",
        "https://API.BFL.AI:443/anything",
        "HTTPS://api.bfl.ai",
        "https://api.eu.bfl.ai/v1/get_result?id=1",
        "https://queue.example.com/requests/1",
    ],
)
def test_the_own_origin_and_trusted_hosts_are(url):
    assert is_trusted(url, ENDPOINT)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.bfl.ai/v1",  # not the origin: unencrypted
        "https://api.bfl.ai:8443/v1",
        "https://queue.example.com:8443/",
        "https://bfl.ai/",  # the suffix names what is below it
        "https://evilbfl.ai/",
        "https://bfl.ai.evil.example/",
        "https://sub.queue.example.com/",
        "https://api.bfl.ai@evil.example/",
        "https://user:password@api.bfl.ai/",
        "https://evil.example\\@api.bfl.ai/",
        "https://evil.example#@api.bfl.ai/",
        "https://evil.example/?@api.bfl.ai/",
        "https://api.bfl.ai\\.evil.example/",
        "https://api.bfl.ai\t.evil.example/",
        "https://api.bfl.ai\n/",
        " https://api.bfl.ai/",
        "https://api.bfl.ai/ ",
        "https://аpi.bfl.ai/",  # a Cyrillic а
        "https://api.bfl.ai./",
        "https:api.bfl.ai/",
        "https:///api.bfl.ai/",
        "//api.bfl.ai/",
        "/v1/get_result",
        "file:///etc/passwd",
        "data:text/plain,x",
        "",
    ],
)
def test_everything_else_is_not(url):
    assert not is_trusted(url, ENDPOINT)


def test_plain_http_is_trusted_at_the_configured_origin_alone():
    assert is_trusted("http://127.0.0.1:9000/poll", LOCAL)
    assert not is_trusted("http://127.0.0.1:9001/poll", LOCAL)
    assert not is_trusted("http://127.0.0.1/poll", LOCAL)
    assert not is_trusted("https://127.0.0.1:9000/poll", LOCAL)


def test_an_ipv6_origin_is_understood():
    endpoint = Endpoint("six", "http://[::1]:9000", ())
    assert is_trusted("http://[::1]:9000/poll", endpoint)
    assert not is_trusted("http://[::2]:9000/poll", endpoint)
