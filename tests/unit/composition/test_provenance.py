"""The marking of files follows the configuration, and a certificate that cannot sign is found out at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificate_chain import Chain, make_chain

from service.composition.provenance import make_marker
from service.config import Config, ConfigError, load
from service.core.values import ImageFormat, Provenance, Size
from service.imaging.convert import Wish, finish
from service.imaging.inspect import ImageLimits

pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
GENERATED = "trainedAlgorithmicMedia"
PHOTO = (Path(__file__).parents[3] / "samples" / "coffee.jpg").read_bytes()


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain()


def configured(tmp_path: Path, section: str) -> Config:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"provenance: {section}\n")
    return load(file, {})


def said(config: Config) -> Provenance:
    image = finish(PHOTO, Wish(Size(256, 256), ImageFormat.PNG), limits=ImageLimits())
    return make_marker(config).marked(PHOTO, image, passed=False)[1]


def test_files_are_marked_unless_it_is_off(tmp_path: Path) -> None:
    assert said(Config()) == Provenance((), (), ("iptc",), GENERATED)
    assert said(configured(tmp_path, "on")) == said(Config())
    assert said(configured(tmp_path, "off")) == Provenance()


def test_with_certificate_and_key_they_are_signed(tmp_path: Path, chain: Chain) -> None:
    (tmp_path / "chain.pem").write_text(chain.operator.certificate)
    (tmp_path / "key.pem").write_text(chain.operator.private_key)
    config = configured(tmp_path, f"{{certificate: {tmp_path}/chain.pem, private_key: {tmp_path}/key.pem}}")
    assert said(config) == Provenance((), (), ("iptc", "c2pa"), GENERATED)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path, chain: Chain) -> None:
    (tmp_path / "chain.pem").write_text(chain.operator.certificate)
    with pytest.raises(ConfigError, match="belong together"):
        configured(tmp_path, f"{{certificate: {tmp_path}/chain.pem}}")


@pytest.mark.parametrize("wrong", ["another key", "no key", "missing"])
def test_a_key_that_cannot_sign_is_told_at_the_start_and_never_shown(tmp_path: Path, chain: Chain, wrong: str) -> None:
    (tmp_path / "chain.pem").write_text(chain.operator.certificate)
    key = {"another key": chain.provider.private_key, "no key": "no key, but secret"}.get(wrong)
    if key is not None:
        (tmp_path / "key.pem").write_text(key)
    config = configured(tmp_path, f"{{certificate: {tmp_path}/chain.pem, private_key: {tmp_path}/key.pem}}")
    with pytest.raises(SystemExit) as caught:
        make_marker(config)
    message = str(caught.value)
    assert message.startswith("provenance")
    assert "\n" not in message
    assert "secret" not in message
    assert "PRIVATE" not in message
