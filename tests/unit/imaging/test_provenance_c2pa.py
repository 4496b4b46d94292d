"""Manifests are read, kept, and signed with a chain of our own; nothing is fetched."""

from __future__ import annotations

import datetime
import socket

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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


def certificate(name: str, key, issuer: str, issuer_key, *, authority: bool) -> x509.Certificate:
    def named(common: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")]
        )

    now = datetime.datetime.now(datetime.UTC)
    usage = {
        "digital_signature": not authority, "key_cert_sign": authority, "crl_sign": authority,
        "content_commitment": False, "key_encipherment": False, "data_encipherment": False,
        "key_agreement": False, "encipher_only": False, "decipher_only": False,
    }  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(issued: x509.Certificate) -> str:
    return issued.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def root() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, certificate("root", key, "root", key, authority=True)


@pytest.fixture(scope="module")
def signers(root) -> dict[str, ManifestSigner]:
    """One of a provider and one of the operator, vouched for by the same root."""
    made = {}
    for name in ("provider", "operator"):
        key = ec.generate_private_key(ec.SECP256R1())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        issued = certificate(name, key, "root", root[0], authority=False)
        made[name] = ManifestSigner(pem(issued), secret.decode(), generator=name)
    return made


@pytest.mark.parametrize("found", FORMATS)
def test_what_is_signed_is_trusted_by_those_who_trust_the_root(picture, file, signers, root, found) -> None:
    data = file(picture(64, 48), found.value.upper())
    signed = signers["operator"].sign(data, found, DigitalSourceType.GENERATED)
    assert has_manifest(signed, found)
    assert not has_manifest(data, found)
    manifest = read_manifest(signed, found, trust_anchors=pem(root[1]))
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
def test_a_providers_manifest_becomes_an_ingredient_where_we_change_pixels(picture, file, signers, root, found) -> None:
    made = signers["provider"].sign(file(picture(64, 48), found.value.upper()), found, DigitalSourceType.GENERATED)
    changed = finish(made, Wish(Size(32, 32), ImageFormat.PNG), limits=LIMITS).data
    assert not has_manifest(changed, ImageFormat.PNG)
    signed = signers["operator"].sign(changed, ImageFormat.PNG, DigitalSourceType.ENHANCED, original=made)
    manifest = read_manifest(signed, ImageFormat.PNG, trust_anchors=pem(root[1]))
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
