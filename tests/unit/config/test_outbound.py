"""Settings for reaching providers: proxies, certificates, and keys in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from service.config import Config, describe
from service.governance.keys import digest

Load = Callable[..., Config]
Problems = Callable[..., list[str]]


class TestProxies:
    def test_the_usual_variables_name_one(self, load_text: Load) -> None:
        environment = {"HTTPS_PROXY": "http://someone:pa55word@proxy.test:3128", "NO_PROXY": "inside.test, 10.0.0.0/8,"}
        config = load_text("", environment)
        assert config.outbound.proxy is not None
        assert config.outbound.proxy.get_secret_value() == environment["HTTPS_PROXY"]
        assert config.outbound.no_proxy == ("inside.test", "10.0.0.0/8")
        shown = describe(config)
        assert "HTTPS_PROXY" in shown
        assert "pa55word" not in shown + repr(config)

    def test_one_without_a_scheme_is_meant_as_it_usually_is(self, load_text: Load) -> None:
        proxy = load_text("", {"https_proxy": "proxy.test:3128"}).outbound.proxy
        assert proxy is not None
        assert proxy.get_secret_value() == "http://proxy.test:3128"

    @pytest.mark.parametrize("proxy", ["none", "http://other.test:1"])
    def test_the_file_goes_before_the_environment(self, load_text: Load, proxy: str) -> None:
        config = load_text(f"outbound: {{proxy: '{proxy}'}}", {"HTTPS_PROXY": "http://proxy.test:3128"})
        assert config.outbound.proxy is not None
        assert config.outbound.proxy.get_secret_value() == proxy

    @pytest.mark.parametrize(
        "proxy", ["https://proxy.test", "socks5://proxy.test", "http://", "http://proxy.test/path", "http://a:b", "x y"]
    )
    def test_others_are_refused_without_being_shown(self, problems_of: Problems, proxy: str) -> None:
        (problem,) = problems_of(f"outbound: {{proxy: '{proxy}'}}")
        assert "outbound.proxy: must be a proxy such as http://proxy.example.com:3128" in problem

    def test_a_wrong_variable_is_named(self, problems_of: Problems) -> None:
        (problem,) = problems_of("", {"HTTPS_PROXY": "socks5://someone:pa55word@proxy.test"})
        assert "must be a proxy" in problem
        assert "pa55word" not in problem

    def test_a_provider_may_have_its_own_or_none(self, load_text: Load) -> None:
        config = load_text("providers: {sdapi: {base_url: 'http://sd.test', proxy: none}}")
        assert config.providers["sdapi"].proxy is not None


class TestCertificates:
    @pytest.fixture
    def pem(self, tmp_path: Path) -> Path:
        certificate = trustme.CA().issue_cert("gateway.test")
        certificate.private_key_pem.write_to_path(tmp_path / "client.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
        return tmp_path

    def test_files_that_fit_are_taken(self, load_text: Load, pem: Path) -> None:
        config = load_text(
            f"""
            outbound: {{ca_file: {pem}/client.pem}}
            providers:
              sdapi:
                base_url: https://sd.test
                client_certificate: {pem}/client.pem
                client_key: {pem}/client.key
            """
        )
        assert config.providers["sdapi"].client_key.endswith("client.key")

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ("outbound: {ca_file: DIR/missing.pem}", "outbound.ca_file: cannot be read"),
            ("outbound: {ca_file: DIR/client.key}", "outbound.ca_file: holds no certificate"),
            ("providers: {openai: {client_certificate: DIR/missing.pem}}", "client_certificate: cannot be read"),
            ("providers: {openai: {client_certificate: DIR/client.pem}}", "has no key"),
            ("providers: {openai: {client_certificate: DIR/client.pem, client_key: DIR/no}}", "cannot be read"),
            ("providers: {openai: {client_key: DIR/client.key}}", "client_key needs a client_certificate"),
        ],
    )
    def test_others_are_refused_at_the_start(
        self, problems_of: Problems, pem: Path, settings: str, complaint: str
    ) -> None:
        assert complaint in "\n".join(problems_of(settings.replace("DIR", str(pem))))


class TestKeysInFiles:
    def test_the_file_s_line_is_the_key(self, load_text: Load, tmp_path: Path) -> None:
        (tmp_path / "openai").write_text("sk-from-a-file\n")
        config = load_text(f"providers: {{openai: {{keys: [{{name: main, file: {tmp_path}/openai}}]}}}}")
        (key,) = config.providers["openai"].keys
        assert key.credential.secret == "sk-from-a-file"
        assert "sk-from-a-file" not in repr(config) + describe(config)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [(None, "cannot be read"), (b"", "is empty"), (b"one\ntwo", "one key in one line"), (b"\xff", "one key")],
    )
    def test_a_file_without_a_key_is_refused(
        self, problems_of: Problems, tmp_path: Path, content: bytes | None, complaint: str
    ) -> None:
        if content is not None:
            (tmp_path / "openai").write_bytes(content)
        (problem,) = problems_of(f"providers: {{openai: {{keys: [{{file: {tmp_path}/openai}}]}}}}")
        assert complaint in problem

    def test_a_key_has_one_source(self, problems_of: Problems, tmp_path: Path) -> None:
        (problem,) = problems_of(f"providers: {{openai: {{keys: [{{file: {tmp_path}/openai, value: sk-1}}]}}}}")
        assert "give one of value, env and file" in problem

    @pytest.mark.parametrize(("section", "secret"), [("keys", "sk-bf-" + "s" * 43), ("tokens", "t" * 43)])
    def test_the_gateway_s_own_keys_may_be_in_files_too(
        self, load_text: Load, tmp_path: Path, section: str, secret: str
    ) -> None:
        (tmp_path / "own").write_text(f"{secret}\n")
        config = load_text(f"{section}: [{{name: own, file: {tmp_path}/own}}]")
        assert getattr(config, section)[0].digest == digest(secret)
        assert secret not in repr(config) + describe(config)
