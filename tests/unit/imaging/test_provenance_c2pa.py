"""Manifests are read, kept, and signed with a chain of our own; nothing is fetched."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from certificate_chain import Chain, make_chain

from service.core.errors import ErrorKind, GatewayError
from service.core.values import ImageFormat, Size
from service.imaging.convert import Wish, finish
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits
from service.imaging.provenance import DigitalSourceType, has_manifest
from service.imaging.provenance_c2pa import ManifestSigner, read_manifest

pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
LIMITS = ImageLimits()
FORMATS = [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP]


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain()


@pytest.fixture(scope="module")
def signers(chain) -> dict[str, ManifestSigner]:
    """One of a provider and one of the operator, vouched for by the same root."""
    return {each.name: each.signer() for each in (chain.provider, chain.operator)}


@pytest.mark.parametrize("found", FORMATS)
def test_what_is_signed_is_trusted_by_those_who_trust_the_root(picture, file, signers, chain, found) -> None:
    data = file(picture(64, 48), found.value.upper())
    signed = signers["operator"].sign(data, found, DigitalSourceType.GENERATED)
    assert has_manifest(signed, found)
    assert not has_manifest(data, found)
    manifest = read_manifest(signed, found, trust_anchors=chain.root)
    assert (manifest.state, manifest.generator, manifest.ingredients) == ("Trusted", "operator", 0)
    assert manifest.source_types == ("trainedAlgorithmicMedia",)
    assert np.array_equal(decode(signed, limits=LIMITS).array(), decode(data, limits=LIMITS).array())
    assert read_manifest(signed, found).state == "Valid"


def test_changed_pixels_make_it_invalid(picture, file, signers) -> None:
    signed = signers["operator"].sign(file(picture(64, 48), "JPEG"), ImageFormat.JPEG, DigitalSourceType.GENERATED)
    at = len(signed) - 40
    assert read_manifest(signed[:at] + bytes((signed[at] ^ 1,)) + signed[at + 1 :], ImageFormat.JPEG).state == "Invalid"


@pytest.mark.parametrize("found", FORMATS)
def test_a_providers_manifest_stays_where_pixels_stay(picture, file, signers, found) -> None:
    made = signers["provider"].sign(file(picture(64, 48), found.value.upper()), found, DigitalSourceType.GENERATED)
    kept = finish(made, Wish(Size(64, 48), found), limits=LIMITS).data
    assert kept == made
    assert read_manifest(kept, found).state == "Valid"


@pytest.mark.parametrize("found", FORMATS)
def test_a_providers_manifest_becomes_an_ingredient_of_ours(picture, file, signers, chain, found) -> None:
    made = signers["provider"].sign(file(picture(64, 48), found.value.upper()), found, DigitalSourceType.GENERATED)
    changed = finish(made, Wish(Size(32, 32), ImageFormat.PNG), limits=LIMITS).data
    assert not has_manifest(changed, ImageFormat.PNG)
    signed = signers["operator"].sign(changed, ImageFormat.PNG, DigitalSourceType.ENHANCED, original=made)
    manifest = read_manifest(signed, ImageFormat.PNG, trust_anchors=chain.root)
    assert (manifest.state, manifest.generator, manifest.ingredients) == ("Trusted", "operator", 1)
    assert manifest.source_types == ("algorithmicallyEnhanced",)


def test_files_without_a_manifest_say_so(picture, file) -> None:
    assert read_manifest(file(picture(9, 9), "PNG"), ImageFormat.PNG) is None


def test_a_key_that_is_none_is_our_fault_and_never_shown(picture, file) -> None:
    signer = ManifestSigner("no certificate", "no key, but secret")
    with pytest.raises(GatewayError) as caught:
        signer.sign(file(picture(9, 9), "PNG"), ImageFormat.PNG, DigitalSourceType.GENERATED)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "secret" not in repr(signer) + repr(caught.value)


def test_nobody_is_called(picture, file, signers, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    signed = signers["operator"].sign(file(picture(64, 48), "PNG"), ImageFormat.PNG, DigitalSourceType.GENERATED)
    assert read_manifest(signed, ImageFormat.PNG) is not None
