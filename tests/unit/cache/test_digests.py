"""The fields that make two requests the same, and those that make them differ."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.cache.digests import bucket_digest, direct_digest, pixel_digest
from service.cache.entries import CachedImage, CachedResult, dump, new_id, parse
from service.core.values import EncodedImage, ImageFormat, Size, Target
from service.imaging.decode import decode
from service.imaging.inspect import ImageLimits

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def decoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return pixel_digest(decode(file.getvalue(), limits=ImageLimits()).array())


class TestPixels:
    def test_lossless_encodings_and_metadata_make_no_difference(self) -> None:
        image = Image.fromarray(PIXELS)
        noted = PngInfo()
        noted.add_text("Comment", "the same picture")
        digests = {
            decoded(image, "PNG"),
            decoded(image, "PNG", compress_level=0, pnginfo=noted),
            decoded(image, "WEBP", lossless=True),
        }
        assert digests == {pixel_digest(PIXELS)}

    def test_one_different_value_does(self) -> None:
        other = PIXELS.copy()
        other[20, 20, 1] ^= 1
        assert pixel_digest(other) != pixel_digest(PIXELS)

    def test_shape_does(self) -> None:
        assert pixel_digest(PIXELS.reshape(30, 40, 3)) != pixel_digest(PIXELS)

    def test_transparency_does(self) -> None:
        opaque = np.dstack((PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)))
        assert pixel_digest(opaque) != pixel_digest(PIXELS)

    def test_memory_layout_does_not(self) -> None:
        assert pixel_digest(np.asfortranarray(PIXELS)) == pixel_digest(PIXELS)


class TestBuckets:
    BASE: ClassVar[dict[str, Any]] = {
        "n": 2,
        "prompt": "a cat",
        "seed": None,
        "options": {"a": [1, 2], "b": {"c": 0.5}},
    }

    def test_the_order_of_keys_makes_no_difference(self) -> None:
        turned = dict(reversed(self.BASE.items())) | {"options": {"b": {"c": 0.5}, "a": [1, 2]}}
        assert bucket_digest("s", "n", turned) == bucket_digest("s", "n", self.BASE)

    def test_whole_numbers_are_the_same_written_either_way(self) -> None:
        assert bucket_digest("s", "n", {"n": 2.0}) == bucket_digest("s", "n", {"n": 2})

    @pytest.mark.parametrize(
        "change",
        [
            {"n": 3},
            {"prompt": "a cat "},
            {"seed": 0},
            {"options": {"a": [2, 1], "b": {"c": 0.5}}},
            {"options": {"a": [1, 2], "b": {"c": 0.25}}},
            {"further": ""},
        ],
    )
    def test_every_parameter_counts(self, change: dict[str, Any]) -> None:
        assert bucket_digest("s", "n", self.BASE | change) != bucket_digest("s", "n", self.BASE)

    def test_scope_and_namespace_count_and_do_not_run_together(self) -> None:
        pairs = [("a", "bc"), ("ab", "c"), ("abc", ""), ('a","b', "c"), ("a", 'b","c')]
        assert len({bucket_digest(*pair, {}) for pair in pairs}) == len(pairs)

    def test_text_that_is_no_unicode_has_a_digest_too(self) -> None:
        assert bucket_digest("s", "n", {"prompt": "\ud800"}) != bucket_digest("s", "n", {"prompt": "\ud801"})

    def test_a_request_is_its_bucket_and_its_picture(self) -> None:
        buckets, pictures = (b"a" * 32, b"b" * 32), (b"c" * 32, b"d" * 32)
        assert len({direct_digest(bucket, picture) for bucket in buckets for picture in pictures}) == 4


class TestEntries:
    RESULT = CachedResult(
        (CachedImage(EncodedImage(b"one", ImageFormat.WEBP, Size(5, 4)), "a “cat”"),),
        Target("p", "m/x"),
        warnings=("w",),
    )

    def test_results_come_back_from_their_text(self) -> None:
        assert parse(dump(self.RESULT), [b"one"]) == self.RESULT

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"images": [[1]]}'])
    def test_damaged_text_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse(text, [b"one"])

    def test_missing_images_are_noticed(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            parse(dump(self.RESULT), [])

    def test_ids_tell_nothing_and_are_not_repeated(self) -> None:
        assert len({new_id() for _ in range(100)}) == 100
        assert len(bytes.fromhex(new_id())) == 16
