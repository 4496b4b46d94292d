"""Provider keys in files: read at the start, and anew when they change."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path

import pytest

from service.catalog.profile import Profile
from service.composition.directory import make_directory
from service.composition.secrets import SecretFiles
from service.composition.transport import opened_transport
from service.concurrency.pools import WorkerPool
from service.config import load
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size, Target
from service.gateway.backends.base import CallContext
from service.gateway.backends.local import LocalBackend
from service.imaging.inspect import ImageLimits
from service.providers.base import Credential
from service.transport.credentials import Credentials, WeightedCredential


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "openai"
    path.write_text("sk-first\n")
    return path


@pytest.fixture
def followed(file: Path) -> tuple[SecretFiles, list[str]]:
    files = SecretFiles()
    read: list[str] = []
    files.follow(str(file), "sk-first", read.append)
    return files, read


def test_a_file_that_stays_is_left_alone(followed: tuple[SecretFiles, list[str]]) -> None:
    files, read = followed
    for _ in range(3):
        asyncio.run(files.reread())
    assert read == []


def test_a_secret_written_anew_is_read_once(followed: tuple[SecretFiles, list[str]], file: Path) -> None:
    files, read = followed
    file.write_text("sk-second-key\n")
    for _ in range(3):
        asyncio.run(files.reread())
    assert read == ["sk-second-key"]


def test_a_secret_put_in_its_place_as_kubernetes_does_is_read(
    followed: tuple[SecretFiles, list[str]], file: Path, tmp_path: Path
) -> None:
    files, read = followed
    asyncio.run(files.reread())
    (tmp_path / "new").write_text("sk-other\n")
    (tmp_path / "new").rename(file)
    asyncio.run(files.reread())
    assert read == ["sk-other"]


@pytest.mark.parametrize("content", ["", "two\nlines", "k\u00e9y"])
def test_a_file_that_holds_no_key_leaves_the_earlier_one(
    followed: tuple[SecretFiles, list[str]], file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    files, read = followed
    file.write_text(content)
    asyncio.run(files.reread())
    asyncio.run(files.reread())
    file.unlink()
    asyncio.run(files.reread())
    assert read == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    file.write_text("sk-back-again")
    asyncio.run(files.reread())
    assert read == ["sk-back-again"]


def test_the_next_request_has_the_new_secret_and_the_key_rests_no_longer() -> None:
    credentials = Credentials([WeightedCredential(Credential("main", "old"))])
    credentials.rest("main", 300.0, ErrorKind.UPSTREAM_AUTH, 0.0)
    credentials.renew(Credential("main", "new"))
    assert credentials.named("main") == Credential("main", "new")
    assert credentials.ring is not None
    assert credentials.ring.choose("m", 1.0, 0.5).name == "main"
    with pytest.raises(KeyError):
        credentials.renew(Credential("other", "x"))


async def test_calls_carry_the_key_that_the_file_holds(file: Path, tmp_path: Path) -> None:
    keys: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        keys.extend(line.partition(" ")[2] for line in head.split("\r\n") if line.startswith("authorization:"))
        writer.write(b"HTTP/1.1 400 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    settings = tmp_path / "gateway.yaml"
    await asyncio.to_thread(
        settings.write_text, f"providers: {{mine: {{type: openai, base_url: '{url}', keys: [{{file: '{file}'}}]}}}}"
    )
    files = SecretFiles()
    async with opened_transport(config := load(settings, {})) as transport, contextlib.AsyncExitStack() as stack:
        workers = WorkerPool(1)
        stack.callback(workers.close)
        directory = make_directory(config, LocalBackend(workers, ImageLimits()), transport.executor, files)
        backend = directory.provider(Target("mine", "gpt-image-2")).backend
        call = ProviderCall("gpt-image-2", EncodedImage(b"image", ImageFormat.PNG, Size(8, 8)), prompt="Vary it.")
        for secret in ("sk-first", "sk-second"):
            await asyncio.to_thread(file.write_text, secret)
            await files.reread()
            with pytest.raises(GatewayError):
                await backend.vary(call, Profile(), CallContext(math.inf, lambda _: None))
    listening.close()
    assert keys == ["bearer sk-first", "bearer sk-second"]
