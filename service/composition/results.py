"""The store of results and the links to them, with the task that removes expired files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.concurrency.tasks import repeating
from service.config import Config
from service.gateway.delivery.links import Links
from service.imaging.local_results import LocalImageStore
from service.imaging.object_results import SCHEMES, ObjectImageStore
from service.imaging.result_store import ImageStore
from service.imaging.signing import LinkSigner, load_or_create_secret

# Files may be fetched for this long after the last link to them has expired.
SWEEP_EVERY_S = 60.0


def open_store(
    location: str | Path,
    *,
    lifetime: timedelta,
    max_bytes: int | None = None,
    options: Mapping[str, str] | None = None,
) -> ImageStore:
    """The store at a location: a directory, or an ``s3://``, ``gs://`` or ``az://`` URL.

    Args:
        lifetime: How long results are kept.
        max_bytes: Most bytes held; None for no cap. An object store may exceed it until the next sweep.
        options: Settings of the object store as obstore names them, such as ``region`` or ``endpoint``.

    Raises:
        ValueError: The URL is of no store that can sign URLs, or obstore does not accept it or the options.
        OSError: The directory cannot be made.
    """
    scheme, separator, _ = str(location).partition("://")
    if not separator:
        return LocalImageStore(Path(location), lifetime=lifetime, max_bytes=max_bytes)
    if scheme not in SCHEMES:
        raise ValueError(f"results are stored in a directory or at s3://, gs:// or az://, not at {scheme}://")
    return ObjectImageStore.at(str(location), lifetime=lifetime, max_bytes=max_bytes, options=options)


def open_results(config: Config) -> tuple[ImageStore, Links]:
    """The store that the configuration names, and the signed links to its files.

    Raises:
        SystemExit: The store's place or the signing secret cannot be used.
    """
    lifetime = timedelta(seconds=config.results.expires_after)
    try:
        store = open_store(config.results_location, lifetime=lifetime, max_bytes=config.results.max_bytes)
        if config.results.signing_secret is not None:
            secret = config.results.signing_secret.get_secret_value().encode()
        else:
            secret = load_or_create_secret(Path(config.state_path) / "signing-secret")
    except (OSError, ValueError) as error:
        raise SystemExit(f"Results cannot be stored: {error}") from None
    return store, Links(store, LinkSigner(secret), lifetime=lifetime, public_url=config.listen.public_url)


def sweeping(store: ImageStore) -> contextlib.AbstractAsyncContextManager[None]:
    """A block during which expired files are removed every ``SWEEP_EVERY_S`` seconds."""
    return repeating(lambda: store.sweep(datetime.now(UTC)), name="removal of expired results", every_s=SWEEP_EVERY_S)
