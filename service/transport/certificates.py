"""The one set of certificate authorities that every connection of ours trusts: provider calls and downloads alike."""

from __future__ import annotations

import ssl

import httpx


def trust_store(ca_file: str = "", *, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """Verifies servers against certifi's authorities, the system's, and those of ``ca_file``.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` say where the system's are, as for every program that uses OpenSSL.

    Args:
        ca_file: Further authorities, in PEM: a company's own, or that of a proxy which inspects TLS.
        certificate: Our own certificate with its chain, in PEM, for servers that ask for one.
        key: The key of that certificate; empty: it is in the same file.

    Raises:
        OSError: A file cannot be read; ``ssl.SSLError``, one of these, where it does not hold what it should.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_file:
        context.load_verify_locations(ca_file)
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context
