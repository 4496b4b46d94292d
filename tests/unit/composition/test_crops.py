"""A head stays in a picture that is cropped to another shape."""

from __future__ import annotations

import numpy as np
import pytest

from service.composition.crops import detector
from service.core.values import ImageFormat, Size
from service.engine.focus import find_focus
from service.engine.networks import weights
from service.imaging.convert import Wish, finish
from service.imaging.decode import decode
from service.imaging.encode import encode_array
from service.imaging.inspect import ImageLimits

data = pytest.importorskip("skimage.data", reason="scikit-image has the portrait")
LIMITS = ImageLimits()


@pytest.mark.parametrize("size", [Size(1792, 1024), Size(1024, 1792), Size(256, 256)])
@pytest.mark.skipif(weights.FACES in weights.missing(), reason="the network for faces is not installed")
def test_the_head_of_a_portrait_is_kept_whole(size: Size) -> None:
    portrait = encode_array(data.astronaut(), ImageFormat.PNG).data
    wish = Wish(size, ImageFormat.PNG)
    done = finish(portrait, wish, limits=LIMITS, detector=detector())
    assert done.size == size
    assert finish(portrait, wish, limits=LIMITS, detector=detector()).data == done.data
    (face,) = find_focus(decode(done.data, limits=LIMITS).array()).faces
    # The hair is above the face: there is room for it.
    assert face.top > 0.3 * face.height
    assert face.left > 0
    assert max(face.right, face.bottom) < 1


def test_without_a_face_the_upper_part_of_a_tall_subject_goes_before_its_middle() -> None:
    pixels = np.full((600, 300, 3), 128, np.uint8)
    pixels[60:540, 100:200] = np.random.default_rng(1).integers(0, 255, (480, 100, 3), np.uint8)
    find = detector()
    assert find is not None
    boxes = find(pixels)
    assert boxes
    assert all(0 <= side <= 1 for each in boxes for side in each.box)
    assert max(boxes, key=lambda each: each.weight).box[3] < 0.55
