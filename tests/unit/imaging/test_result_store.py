"""Results are kept under unguessable names, whole or not at all, until their time is over."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from service.composition.results import open_store
from service.concurrency.tasks import started
from service.core.errors import ErrorKind, GatewayError
from service.core.values import EncodedImage, ImageFormat, Size
from service.gateway.delivery.links import Links
from service.imaging.local_results import LocalImageStore
from service.imaging.object_results import ObjectImageStore
from service.imaging.result_store import ImageStore
from service.imaging.signing import LinkSigner, valid_name

HOUR = timedelta(hours=1)


def image(data: bytes = b"bytes of a picture", output_format: ImageFormat = ImageFormat.PNG) -> EncodedImage:
    return EncodedImage(data, output_format, Size(1, 1))


async def read(store: ImageStore, name: str) -> bytes:
    return b"".join([chunk async for chunk in (await store.open(name)).chunks])


def aged(directory: Path, name: str, age_s: float) -> None:
    moment = datetime.now(UTC).timestamp() - age_s
    os.utime(directory / name, (moment, moment))


def files(directory: Path) -> dict[str, int]:
    """The names and sizes of the files in a directory."""
    return {file.name: file.stat().st_size for file in directory.iterdir()}


def finished_sizes(directory: Path) -> set[int]:
    """The sizes of the files that a reader could open by name at this moment."""
    return {file.stat().st_size for file in directory.iterdir() if valid_name(file.name)}


@pytest.fixture(params=["local", "object"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    if request.param == "local":
        return LocalImageStore(tmp_path / "results", lifetime=HOUR)
    return ObjectImageStore(MemoryStore(), lifetime=HOUR)


class TestEveryStore:
    @pytest.mark.parametrize("output_format", [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF])
    async def test_what_is_put_can_be_opened(self, store: ImageStore, output_format: ImageFormat) -> None:
        data = bytes(range(256)) * 4000
        name = await store.put(image(data, output_format))
        stored = await store.open(name)
        assert (stored.media_type, stored.size) == (output_format.media_type, len(data))
        assert b"".join([chunk async for chunk in stored.chunks]) == data

    async def test_names_are_unguessable_and_never_the_same(self, store: ImageStore) -> None:
        names = {await store.put(image()) for _ in range(50)}
        assert len(names) == 50
        assert all(map(valid_name, names))

    async def test_an_image_that_is_repeated_keeps_its_name_and_lives_longer(self, store: ImageStore) -> None:
        names = {await store.put(image(), holder="key:a", repeated="entry 0") for _ in range(155)}
        assert len(names) == 1
        others = [
            await store.put(image(), holder="key:a", repeated="entry 1"),
            await store.put(image(), holder="key:b", repeated="entry 0"),
            await store.put(image(), holder="key:a"),
        ]
        assert len({*names, *others}) == 4
        assert all(map(valid_name, [*names, *others]))

    async def test_a_store_that_works_says_so(self, store: ImageStore) -> None:
        await store.check()

    @pytest.mark.parametrize(
        "name", ["", "..", "../secret", "/etc/passwd", "A" * 32, "A" * 32 + ".png/", "A\0" + "A" * 30 + ".png", "é.png"]
    )
    async def test_names_of_no_store_are_not_found(self, store: ImageStore, name: str) -> None:
        with pytest.raises(GatewayError) as caught:
            await store.open(name)
        assert (caught.value.kind, caught.value.code) == (ErrorKind.NOT_FOUND, "file_not_found")

    async def test_sweeping_removes_what_has_expired(self, store: ImageStore) -> None:
        name = await store.put(image())
        now = datetime.now(UTC)
        assert await store.sweep(now) == 0
        assert await read(store, name)
        assert await store.sweep(now + timedelta(hours=2)) == 1
        with pytest.raises(GatewayError):
            await store.open(name)
        assert await store.sweep(now + timedelta(hours=2)) == 0


class TestLocalStore:
    async def test_files_and_directory_are_for_the_owner_alone(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path / "a" / "results", lifetime=HOUR)
        name = await store.put(image())
        assert stat.S_IMODE((tmp_path / "a" / "results").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "a" / "results" / name).stat().st_mode) == 0o600

    async def test_sweeping_spares_files_that_are_not_ours(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        (tmp_path / "README").write_text("mine")
        (tmp_path / "holiday.png").write_text("mine")
        assert await store.sweep(datetime.now(UTC) + timedelta(days=9)) == 0
        assert set(files(tmp_path)) == {"README", "holiday.png"}

    async def test_sweeping_removes_what_a_dead_process_left_half_written(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        (tmp_path / ("A" * 32 + ".png#1")).write_text("half")
        assert await store.sweep(datetime.now(UTC)) == 0
        assert await store.sweep(datetime.now(UTC) + timedelta(hours=2)) == 1
        assert not files(tmp_path)

    async def test_over_the_cap_the_oldest_go_first(self, tmp_path: Path) -> None:
        names = [await LocalImageStore(tmp_path, lifetime=HOUR).put(image(b"x" * 100)) for _ in range(5)]
        for age, name in zip((50, 40, 30, 20, 10), names, strict=True):
            aged(tmp_path, name, age)
        store = LocalImageStore(tmp_path, lifetime=HOUR, max_bytes=250)
        assert await store.sweep(datetime.now(UTC)) == 3
        assert set(files(tmp_path)) == set(names[3:])

    async def test_the_cap_holds_between_sweeps(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR, max_bytes=1_000)
        for _ in range(40):
            last = await store.put(image(b"x" * 100))
            assert sum(files(tmp_path).values()) <= 1_000
        assert await read(store, last)

    async def test_a_repeated_image_lives_as_long_as_the_newest_link_to_it(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        name = await store.put(image(), repeated="entry 0")
        aged(tmp_path, name, 3500)
        await store.put(image(), repeated="entry 0")
        assert await store.sweep(datetime.now(UTC) + timedelta(minutes=30)) == 0
        assert await read(store, name)

    async def test_a_repeated_image_that_is_gone_is_stored_again(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        name = await store.put(image(), repeated="entry 0")
        (tmp_path / name).unlink()
        assert await store.put(image(), repeated="entry 0") == name
        assert await read(store, name)

    async def test_who_stores_much_pushes_out_their_own(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR, max_bytes=10_000)
        modest = [await store.put(image(b"x" * 100), holder="modest") for _ in range(20)]
        for number in range(200):
            last = await store.put(image(b"x" * 100), holder=f"greedy {number % 2}")
        assert all([await read(store, name) for name in (*modest, last)])
        assert sum(files(tmp_path).values()) <= 10_000

    async def test_shares_are_known_after_a_restart(self, tmp_path: Path) -> None:
        first = LocalImageStore(tmp_path, lifetime=HOUR)
        modest = await first.put(image(b"x" * 100), holder="modest")
        aged(tmp_path, modest, 1800)
        for _ in range(20):
            await first.put(image(b"x" * 100), holder="greedy")
        again = LocalImageStore(tmp_path, lifetime=HOUR, max_bytes=500)
        assert await again.sweep(datetime.now(UTC)) == 16
        assert await read(again, modest)

    async def test_an_image_being_read_can_be_read_to_its_end_after_it_was_removed(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        data = os.urandom(3_000_000)
        stored = await store.open(name := await store.put(image(data)))
        (tmp_path / name).unlink()
        assert b"".join([chunk async for chunk in stored.chunks]) == data

    async def test_readers_see_all_of_an_image_or_nothing(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        data = os.urandom(2_000_000)
        writing = [started(store.put(image(data))) for _ in range(8)]
        while not all(task.done() for task in writing):
            assert finished_sizes(tmp_path) <= {len(data)}
            await asyncio.sleep(0)
        assert all([await read(store, await task) == data for task in writing])

    async def test_a_failing_disk_is_an_internal_error_without_paths(self, tmp_path: Path) -> None:
        directory = tmp_path / "results"
        store = LocalImageStore(directory, lifetime=HOUR)
        directory.rmdir()
        directory.write_text("no directory any more")
        with pytest.raises(GatewayError) as caught:
            await store.put(image())
        assert caught.value.kind is ErrorKind.INTERNAL
        assert str(tmp_path) not in caught.value.message

    async def test_there_is_no_url_of_its_own(self, tmp_path: Path) -> None:
        store = LocalImageStore(tmp_path, lifetime=HOUR)
        assert await store.presigned_url(await store.put(image()), HOUR) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system of its own needs the right to mount: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


class TestFullDisk:
    async def test_the_oldest_results_make_room(self, small_disk: Path) -> None:
        store = LocalImageStore(small_disk / "results", lifetime=HOUR)
        for _ in range(40):
            last = await store.put(image(bytes(500_000)))
            await store.check()
        assert await read(store, last) == bytes(500_000)
        assert len(files(small_disk / "results")) < 16
        assert shutil.disk_usage(small_disk).free > 500_000

    async def test_what_others_fill_is_told_and_leaves_nothing_behind(self, small_disk: Path) -> None:
        store = LocalImageStore(small_disk / "results", lifetime=HOUR)
        (small_disk / "others").write_bytes(bytes(shutil.disk_usage(small_disk).free))
        with pytest.raises(GatewayError) as caught:
            await store.check()
        assert caught.value.code == "storage_failed"
        with pytest.raises(GatewayError):
            await store.put(image(bytes(500_000)))
        assert files(small_disk / "results") == {}
        (small_disk / "others").unlink()
        await store.check()
        assert await read(store, await store.put(image()))

    async def test_results_give_way_where_others_fill_the_disk(self, small_disk: Path) -> None:
        store = LocalImageStore(small_disk / "results", lifetime=HOUR)
        for _ in range(4):
            await store.put(image(bytes(500_000)))
        (small_disk / "others").write_bytes(bytes(shutil.disk_usage(small_disk).free))
        assert await read(store, await store.put(image(bytes(400_000))))


class TestObjectStore:
    async def test_over_the_cap_the_oldest_go_first(self) -> None:
        store = ObjectImageStore(MemoryStore(), lifetime=HOUR, max_bytes=250)
        names = [await store.put(image(b"x" * 100)) for _ in range(5)]
        assert await store.sweep(datetime.now(UTC)) == 3
        assert await read(store, names[4])
        with pytest.raises(GatewayError):
            await store.open(names[0])

    async def test_a_bucket_that_does_not_answer_is_told(self) -> None:
        options = {"access_key_id": "AKIA", "secret_access_key": "x", "region": "eu-west-1"}
        away = {**options, "endpoint": "https://127.0.0.1:1"}
        links = Links(
            open_store("s3://bucket", lifetime=HOUR, options=away), LinkSigner(bytes(32)), lifetime=HOUR, longest_s=0.2
        )
        with pytest.raises(GatewayError) as caught:
            await links.check()
        assert caught.value.code == "storage_failed"
        # The second time it is not even asked.
        assert await links.publish(image(), "http://localhost") is None
        assert await asyncio.wait_for(links.publish(image(), "http://localhost"), 0.1) is None

    async def test_its_urls_are_signed_by_the_store(self) -> None:
        options = {"access_key_id": "AKIA", "secret_access_key": "hunter2", "region": "eu-west-1"}
        store = open_store("s3://bucket/results", lifetime=HOUR, options=options)
        name = "A" * 32 + ".png"
        url = await store.presigned_url(name, HOUR)
        assert url is not None
        assert f"/results/{name}" in url
        assert "X-Amz-Expires=3600" in url
        assert "hunter2" not in url


class TestOpening:
    def test_a_path_is_a_directory(self, tmp_path: Path) -> None:
        assert isinstance(open_store(tmp_path / "a", lifetime=HOUR), LocalImageStore)
        assert isinstance(open_store(str(tmp_path / "b"), lifetime=HOUR), LocalImageStore)

    @pytest.mark.parametrize("location", ["http://example.org/x", "memory:///", "file:///tmp/x", "ftp://x"])
    def test_stores_that_cannot_sign_are_a_mistake(self, location: str) -> None:
        with pytest.raises(ValueError, match="s3://, gs:// or az://"):
            open_store(location, lifetime=HOUR)

    def test_mistaken_options_are_refused_without_being_repeated(self) -> None:
        with pytest.raises(ValueError, match="not configured right") as caught:
            open_store("s3://bucket", lifetime=HOUR, options={"no_such_option": "hunter2"})
        assert "hunter2" not in str(caught.value)
