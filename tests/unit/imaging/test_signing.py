"""Links work until they expire; nothing else works."""

from __future__ import annotations

import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, GatewayError
from service.imaging.signing import LinkSigner, load_or_create_secret, valid_name

SECRET = bytes(range(32))
NAME = "A" * 30 + "-_.png"
SIGNER = LinkSigner(SECRET)


def refusal(name: str, expires: str, signature: str, now: float = 0.0) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        SIGNER.verify(name, expires, signature, now=now)
    return caught.value


def test_a_link_works_until_the_second_it_expires() -> None:
    query = SIGNER.sign(NAME, 1_000)
    SIGNER.verify(NAME, query.expires, query.signature, now=999.99)
    error = refusal(NAME, query.expires, query.signature, now=1_000.0)
    assert (error.kind, error.code) == (ErrorKind.NOT_FOUND, "file_expired")


def test_name_expiry_and_secret_are_all_signed() -> None:
    query = SIGNER.sign(NAME, 1_000)
    other_key = LinkSigner(bytes(32)).sign(NAME, 1_000)
    for name, expires, signature in (
        ("B" * 32 + ".png", query.expires, query.signature),
        (NAME.replace("png", "gif"), query.expires, query.signature),
        (NAME, "1001", query.signature),
        (NAME, "01000", query.signature),
        (NAME, "+1000", query.signature),
        (NAME, "１０００", query.signature),
        (NAME, query.expires, query.signature[:-1]),
        (NAME, query.expires, query.signature.upper()),
        (NAME, query.expires, ""),
        (NAME, query.expires, other_key.signature),
    ):
        error = refusal(name, expires, signature)
        assert (error.kind, error.code) == (ErrorKind.PERMISSION_DENIED, "invalid_signature")


def test_a_forged_link_is_called_forged_even_when_expired() -> None:
    assert refusal(NAME, "1000", "0" * 64, now=5_000.0).code == "invalid_signature"


@given(st.text(), st.text(), st.text())
def test_whatever_else_comes_is_refused(name, expires, signature) -> None:
    assert refusal(name, expires, signature).kind is ErrorKind.PERMISSION_DENIED


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".png",
        "../" + "A" * 29 + ".png",
        "A" * 32 + "/.png",
        "A" * 32 + ".png\n",
        "A" * 32 + ".exe",
        "A" * 32 + ".PNG",
        "A" * 31 + "\0.png",
        "A" * 31 + "é.png",
        "A" * 33 + ".png",
        "A" * 31 + ".png",
        "A" * 32 + ".png.png",
    ],
)
def test_names_that_the_store_does_not_give_are_not_valid(name) -> None:
    assert not valid_name(name)
    signature = SIGNER.sign(name, 10**9).signature
    assert refusal(name, str(10**9), signature).kind is ErrorKind.PERMISSION_DENIED


def test_the_secret_is_long_and_not_shown() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        LinkSigner(b"short")
    assert "\\x01" not in repr(SIGNER)


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path) -> None:
    path = tmp_path / "state" / "secret"
    secret = load_or_create_secret(path)
    assert len(secret) >= 32
    assert load_or_create_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_processes_that_start_together_agree_on_the_secret(tmp_path) -> None:
    path = tmp_path / "secret"
    together = threading.Barrier(8)
    secrets: list[bytes] = []

    def start() -> None:
        together.wait()
        secrets.append(load_or_create_secret(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(secrets) == 8
    assert len(set(secrets)) == 1


def test_a_secret_file_that_is_too_short_is_a_mistake(tmp_path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ValueError, match="32 bytes"):
        load_or_create_secret(tmp_path / "secret")
