"""Certificates as C2PA wants them, vouched for by a root of the test's own."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.imaging.provenance_c2pa import ManifestSigner


@dataclass(frozen=True)
class Signing:
    """The certificate and key that one organisation signs with, in PEM."""

    certificate: str
    private_key: str
    name: str

    def signer(self) -> ManifestSigner:
        return ManifestSigner(self.certificate, self.private_key, generator=self.name)


@dataclass(frozen=True)
class Chain:
    """A root, in PEM, and a provider and an operator that it vouches for."""

    root: str
    provider: Signing
    operator: Signing


def make_chain() -> Chain:
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificate("root", root_key, "root", root_key, authority=True)

    def signing(name: str) -> Signing:
        key = ec.generate_private_key(ec.SECP256R1())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Signing(pem(certificate(name, key, "root", root_key, authority=False)), secret.decode(), name)

    return Chain(pem(root), signing("provider"), signing("operator"))


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
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
