from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest

from service.config import Address, Config, ConfigError, load

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


def test_without_a_file_everything_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {})
    assert config.listen.grpc == Address("127.0.0.1", 50051)
    assert config.limits.request_bytes == 50 * 1024**2
    assert config.default_route == "local/vary"
    assert config.state_path == tmp_path / ".gateway"
    assert config.results_location == tmp_path / ".gateway" / "results"
    assert not config.providers
    assert not config.warnings


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text("log: {level: debug}\n")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).log.level == "debug"


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "other.yaml", {})
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


def test_empty_sections_mean_their_defaults(load_text: Load) -> None:
    config = load_text("listen:\nlimits:\n  request_bytes:\nproviders:\n  fal:\naliases:\n")
    assert config.limits.request_bytes == 50 * 1024**2
    assert config.providers["fal"].type == "fal"


def test_a_config_cannot_be_changed(load_text: Load) -> None:
    config = load_text("providers: {fal: {options: {a: b}}}")
    with pytest.raises(pydantic.ValidationError):
        config.allow_raw = True
    with pytest.raises(TypeError):
        config.providers["x"] = config.providers["fal"]  # type: ignore[index]  # what is refused here
    with pytest.raises(TypeError):
        config.providers["fal"].options["a"] = "c"  # type: ignore[index]  # what is refused here


def test_all_problems_are_told_at_once_with_line_key_and_advice(problems_of: Problems) -> None:
    assert problems_of(
        """\
listen:
  htp: 127.0.0.1:1
  grpc: 8080
  admin: 0.0.0.0:9901
limits: {request_bytes: 50XB, image_pixels: true, concurrent_requests: many, request_timeout: 0}
provders: {}
default_route: openia/x
log: {level: loud}
retries: {max: 1.5}
public_url: x
allow_raw: 3
""",
        {"GRPC_PORT": "70000"},
    ) == [
        "2 listen.htp: is not a setting; did you mean 'http'?",
        "3 listen.grpc: must be host:port, such as 127.0.0.1:8080 or [::1]:8080, got 8080",
        "4 listen.admin: must be a loopback address: it asks for no credential and can stop Envoy, got '0.0.0.0:9901'",
        "5 limits.request_bytes: must be a size such as 50MiB, 50MB or 52428800, got '50XB'",
        "5 limits.image_pixels: must be a number, not true or false, got true",
        "5 limits.request_timeout: must be greater than 0, got 0",
        "5 limits.concurrent_requests: must be a whole number, got 'many'",
        "6 provders: is not a setting; did you mean 'providers'?",
        "7 default_route: there is no provider 'openia'; did you mean 'openai'?",
        "8 log.level: must be one of 'debug', 'info', 'warning' or 'error', got 'loud'",
        "9 retries.max: must be a whole number, got 1.5",
        "10 public_url: is not a setting; known: " + ", ".join(sorted(Config.model_fields)),
        "11 allow_raw: must be true or false, got 3",
        "0 : must be a port from 0 to 65535",
    ]


def test_ports_of_the_environment_go_before_the_file_and_keep_its_host(load_text: Load) -> None:
    config = load_text("listen: {grpc: '[::1]:1', http: 0.0.0.0:2}", {"GRPC_PORT": "0", "HTTP_PORT": "99"})
    assert str(config.listen.grpc) == "[::1]:0"
    assert str(config.listen.http) == "0.0.0.0:99"


def test_relative_places_are_within_the_state_directory(load_text: Load) -> None:
    config = load_text("engine: {cache_directory: kernels}", {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})
    assert config.state_path == Path("/var/lib/a")
    assert config.engine_cache_path == Path("/var/lib/a/kernels")
    assert config.results_location == Path("/var/lib/a/results")


@pytest.mark.parametrize(
    ("store", "location"),
    [
        ("/data/images", Path("/data/images")),
        ("file:///data/my%20images", Path("/data/my images")),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_results_go_to_a_directory_or_an_object_store(load_text: Load, store: str, location: object) -> None:
    assert load_text(f"results: {{store: '{store}'}}").results_location == location


@pytest.mark.parametrize("store", ["ftp://x/y", "s3:///prefix", "file://relative", "s3://key:secret@bucket"])
def test_other_stores_are_refused(problems_of: Problems, store: str) -> None:
    (problem,) = problems_of(f"results: {{store: '{store}'}}")
    assert problem.startswith("1 results.store: ")
    assert "secret" not in problem


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://u:p@x", "https://x?key=1", "x", "https://", "https://x:99999", "https://a b"]
)
def test_urls_hold_no_credentials_and_no_query(problems_of: Problems, url: str) -> None:
    (problem,) = problems_of(f"listen: {{public_url: '{url}'}}")
    assert problem.startswith("1 listen.public_url: must ")


def test_image_url_origins_have_no_path(problems_of: Problems, load_text: Load) -> None:
    assert load_text("allowed_image_url_origins: ['http://127.0.0.1:9000/']").allowed_image_url_origins == (
        "http://127.0.0.1:9000",
    )
    assert "without a path" in problems_of("allowed_image_url_origins: ['https://x/y']")[0]


def test_a_short_signing_secret_is_refused_unseen(problems_of: Problems) -> None:
    (problem,) = problems_of("results: {signing_secret: hunter2}")
    assert problem == "1 results.signing_secret: must have at least 32 characters; `openssl rand -hex 32` makes one"


@pytest.mark.parametrize(
    ("written", "expected"),
    [("", Address("127.0.0.1", 9464)), ("off", None), ('"off"', None), ("0.0.0.0:9100", Address("0.0.0.0", 9100))],
)
def test_metrics_have_an_address_or_are_off(load_text: Load, written: str, expected: Address | None) -> None:
    document = f"listen: {{metrics: {written}}}" if written else ""
    assert load_text(document).listen.metrics == expected


def test_metrics_are_not_switched_on_by_true(problems_of: Problems) -> None:
    assert len(problems_of("listen: {metrics: true}")) == 1


def test_draining_takes_as_long_as_a_request_may_unless_told(load_text: Load) -> None:
    assert load_text("limits: {request_timeout: 90s}").drain_s == 90
    assert load_text("drain: {seconds: 5s}").drain_s == 5
