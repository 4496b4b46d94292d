"""Results in a bucket of S3, Google Cloud Storage or Azure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store, from_url

from service.core.values import EncodedImage, ImageFormat, Size
from service.imaging.result_store import (
    Entry,
    ImageStore,
    StoredImage,
    check_name,
    name_of,
    open_stored,
    storage_errors,
    to_remove,
)
from service.imaging.signing import valid_name

SCHEMES: Final = ("s3", "gs", "az")
_PROBE: Final = EncodedImage(b"", ImageFormat.PNG, Size(1, 1))


class ObjectImageStore(ImageStore):
    """A bucket. Its own signed URLs are what callers get.

    Args:
        store: The bucket, with any prefix.
        lifetime: How long results are kept.
        max_bytes: Most bytes held after a sweep.
    """

    def __init__(
        self,
        store: S3Store | GCSStore | AzureStore | MemoryStore,
        *,
        lifetime: timedelta,
        max_bytes: int | None = None,
    ) -> None:
        self._store = store
        self._lifetime = lifetime
        self._max_bytes = max_bytes

    @classmethod
    def at(
        cls, url: str, *, lifetime: timedelta, max_bytes: int | None, options: Mapping[str, str] | None
    ) -> ObjectImageStore:
        """The store at an ``s3://``, ``gs://`` or ``az://`` URL.

        Raises:
            ValueError: obstore does not accept it or the options.
        """
        try:
            bucket: Any = from_url(url, config=dict(options or {}))  # type: ignore[call-overload]
        except BaseError as error:
            # obstore's message may quote the options, and those may hold keys.
            scheme, kind = url.partition("://")[0], type(error).__name__
            raise ValueError(f"the {scheme}:// store for results is not configured right ({kind})") from None
        return cls(bucket, lifetime=lifetime, max_bytes=max_bytes)

    async def put(self, image: EncodedImage, *, holder: str = "", repeated: str = "") -> str:
        name = name_of(image, holder, repeated)
        with storage_errors():
            # Also where it is there already: its lifetime counts from when it was last written.
            await obstore.put_async(
                self._store,
                name,
                image.data,
                attributes={"Content-Type": image.format.media_type},
                use_multipart=False,
            )
        return name

    async def open(self, name: str) -> StoredImage:
        return await open_stored(self._store, name)

    async def check(self) -> None:
        with storage_errors():
            try:
                await obstore.head_async(self._store, name_of(_PROBE, "", ""))
            except (NotFoundError, FileNotFoundError):
                # It answers, and has no such image, as it should.
                return

    async def sweep(self, now: datetime) -> int:
        with storage_errors():
            entries = [
                Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())
                async for batch in obstore.list(self._store)
                for meta in batch
                if valid_name(meta["path"])
            ]
            doomed = to_remove(entries, (now - self._lifetime).timestamp(), self._max_bytes)
            if doomed:
                await obstore.delete_async(self._store, [entry.name for entry in doomed])
        return len(doomed)

    async def presigned_url(self, name: str, lifetime: timedelta) -> str | None:
        check_name(name)
        if isinstance(self._store, MemoryStore):
            return None
        with storage_errors():
            return await obstore.sign_async(self._store, "GET", name, lifetime)
