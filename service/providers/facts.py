"""Requests to vendors whose models name their inputs themselves: made from the facts of the model's profile."""

from __future__ import annotations

from typing import Any

from service.catalog.profile import Profile
from service.core.calls import ProviderCall
from service.core.errors import ErrorKind, GatewayError
from service.core.values import Size
from service.providers import wire
from service.providers.base import Endpoint

RATIOS = (
    "1:1", "21:9", "2:1", "16:9", "3:2", "7:5", "4:3", "5:4", "4:5", "3:4", "5:7", "2:3", "9:16", "1:2", "9:21",
    "4:1", "1:4", "8:1", "1:8",
)  # fmt: skip
"""Shapes that one vendor or another knows. A profile's sizes are of the shapes that its model knows."""

# Between a quarter of a megapixel and a whole one; the models that are asked for megapixels know no third.
_SMALL_PIXELS = 512 * 1024
_TIERS = ((1_700_000, "1K"), (6_800_000, "2K"))


def fields(call: ProviderCall, profile: Profile, image: str) -> dict[str, Any]:
    """The inputs that the profile says the model has; None where the caller left one open.

    Args:
        image: The source as a URL or a data URL.
    """
    name, is_list = profile.image_field.removesuffix("[]"), profile.image_field.endswith("[]")
    made: dict[str, Any] = {
        name: [image] if is_list else image,
        "prompt": call.prompt or None,
        **size_fields(profile.size_field, call.size),
        "seed": call.seed,
    }
    if profile.count_field and profile.max_n > 1:
        made[profile.count_field] = call.n
    if profile.strength_field:
        made[profile.strength_field] = call.strength
    return made


def size_fields(names: str, size: Size | None) -> dict[str, Any]:
    """A size in the fields that ``Profile.size_field`` names: what each takes follows from its name."""
    made: dict[str, Any] = {}
    for name in filter(None, names.split("+")):
        if size is None:
            made[name] = None
        elif name == "image_size":
            made[name] = {"width": size.width, "height": size.height}
        elif name in ("width", "height"):
            made[name] = size.width if name == "width" else size.height
        elif name == "megapixels":
            made[name] = "0.25" if size.pixels <= _SMALL_PIXELS else "1"
        elif name == "size":
            made[name] = str(size)
        elif name == "resolution":
            made[name] = next((tier for most, tier in _TIERS if size.pixels <= most), "4K")
        else:
            made[name] = wire.nearest_ratio(size, RATIOS)
    return made


def require_image_field(call: ProviderCall, profile: Profile, endpoint: Endpoint) -> None:
    """Raises UNSUPPORTED, before anything is sent, for a model of which nobody has said how it takes its source."""
    if not profile.image_field.removesuffix("[]"):
        model, provider = wire.excerpt(call.model), endpoint.provider
        raise GatewayError(
            ErrorKind.UNSUPPORTED,
            f"Which field of {model!r} takes the image is not known, and a model that ignores an unknown field would "
            f"bill an unrelated picture. The operator can say it: providers.{provider}.models, {model!r}, image_field "
            "(such as image_url, or image_urls[] where it takes a list).",
            may_have_run=False,
        )
