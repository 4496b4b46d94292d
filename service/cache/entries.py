"""Cached results, and the text that stores keep of them beside their images."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from service.core.values import NOTHING_SAID, EncodedImage, ImageFormat, Provenance, Size, Target
from service.imaging.perceptual_key import PerceptualKey

ID_BYTES = 16
# Bytes that an entry takes beside its images, indexes included; measured, roughly, in SQLite.
_OVERHEAD_BYTES = 2048


def new_id() -> str:
    """An id that tells nothing of the entry and cannot be guessed."""
    return secrets.token_hex(ID_BYTES)


@dataclass(frozen=True, slots=True)
class CachedImage:
    """One variation, finished: in the size and format that were asked for."""

    image: EncodedImage
    revised_prompt: str = ""
    provenance: Provenance = NOTHING_SAID


@dataclass(frozen=True, slots=True)
class CachedResult:
    """Everything that is told of a result when it is served again.

    ``target`` made it, and ``warnings`` tell what it did differently from what was asked.
    """

    images: tuple[CachedImage, ...]
    target: Target
    deployment: str = ""
    quality: str = ""
    background: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One result with everything it is found by.

    Attributes:
        id: 32 hexadecimal digits.
        scope: Whose it is; nobody else ever gets it.
        bucket, direct: As ``digests`` makes them.
        look: What the source looks like.
        aspect: The source's width divided by its height.
        expires: Unix time in seconds from which it is no longer served.
    """

    id: str
    scope: str
    namespace: str
    bucket: bytes = field(repr=False)
    direct: bytes = field(repr=False)
    look: PerceptualKey
    aspect: float
    result: CachedResult
    expires: float

    @property
    def size(self) -> int:
        """In bytes, as it counts towards the cache's bound."""
        return _OVERHEAD_BYTES + sum(len(cached.image.data) for cached in self.result.images)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as it comes out of a store."""

    id: str
    result: CachedResult


def dump(result: CachedResult) -> str:
    """Everything but the images' bytes, as JSON."""
    return json.dumps(
        {
            "provider": result.target.provider,
            "model": result.target.model,
            "deployment": result.deployment,
            "quality": result.quality,
            "background": result.background,
            "warnings": result.warnings,
            "images": [
                [
                    each.image.format.value,
                    each.image.size.width,
                    each.image.size.height,
                    each.revised_prompt,
                    asdict(each.provenance),
                ]
                for each in result.images
            ],
        }
    )


def parse(text: str | bytes, images: Sequence[bytes]) -> CachedResult:
    """The inverse of ``dump``.

    Raises:
        ValueError: The text is damaged, or not all of the images are there.
    """
    try:
        about: dict[str, Any] = json.loads(text)
        cached = tuple(
            CachedImage(
                EncodedImage(bytes(data), ImageFormat(image_format), Size(width, height)),
                revised_prompt,
                Provenance.of(said),
            )
            for (image_format, width, height, revised_prompt, said), data in zip(about["images"], images, strict=True)
        )
        return CachedResult(
            cached,
            Target(about["provider"], about["model"]),
            about["deployment"],
            about["quality"],
            about["background"],
            tuple(about["warnings"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the record of a result: {error!r}") from None
