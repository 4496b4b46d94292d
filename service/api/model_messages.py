"""The models and aliases that can be asked for, as messages."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

from imagevariations.v1 import model_service_pb2

from service.catalog.profile import Price, Profile
from service.core.errors import invalid
from service.core.values import Size, Target
from service.gateway.directory import Alias, Directory, Provider
from service.governance.keys import VirtualKey

LARGEST_PAGE = 1000
_MEGAPIXEL = 1024 * 1024


def models_message(
    directory: Directory,
    warnings: Mapping[Target, Sequence[str]],
    key: VirtualKey | None = None,
    *,
    page_size: int = 0,
    page_token: str = "",
) -> model_service_pb2.ListModelsResponse:
    """Every model that is listed, then the aliases, or a page of them.

    Args:
        warnings: What is wrong with a model, such as a sunset date that has passed.
        key: Leaves out what it may not use. None: everything may be used.
        page_size: Most models to list. 0: all of them.
        page_token: Where the page begins: what the page before said. Empty: at the beginning.

    Raises:
        GatewayError: INVALID_REQUEST for a page that cannot be.
    """
    if not 0 <= page_size <= LARGEST_PAGE:
        raise invalid("page_size", f"page_size must be a whole number from 0 to {LARGEST_PAGE}, not {page_size}.")
    models = list(_models(directory, warnings, key))
    first = _page_start(models, page_token)
    page = models[first : first + page_size] if page_size else models[first:]
    rest = models[first + len(page) :]
    return model_service_pb2.ListModelsResponse(
        object="list", data=page, next_page_token=_page_token(rest[0].id) if rest else ""
    )


def model_message(
    directory: Directory, warnings: Mapping[Target, Sequence[str]], key: VirtualKey | None, name: str
) -> model_service_pb2.Model:
    """The model or alias that requests name like this.

    Raises:
        GatewayError: NOT_FOUND ``model_not_found`` where there is none, or none that the key may use.
    """
    for model in _models(directory, warnings, key):
        if model.id == name:
            return model
    raise directory.unknown(name, "id", key)


def _models(
    directory: Directory, warnings: Mapping[Target, Sequence[str]], key: VirtualKey | None
) -> Iterator[model_service_pb2.Model]:
    may_use = key.may_use if key else lambda _: True
    today = datetime.now(UTC).date()
    for provider in directory.providers.values():
        for name, profile in provider.profiles.items():
            target = Target(provider.name, name)
            if may_use(target):
                yield _model_message(provider, name, profile, warnings.get(target, ()), today)
    for name, alias in directory.aliases.items():
        if any(may_use(weighted.target) for weighted in alias.targets):
            yield _alias_message(name, alias)


def _page_token(first_id: str) -> str:
    """Names the model that a page begins with: a list that changes meanwhile loses nothing and repeats nothing."""
    return base64.urlsafe_b64encode(first_id.encode()).decode().rstrip("=")


def _page_start(models: Sequence[model_service_pb2.Model], token: str) -> int:
    if not token:
        return 0
    for position, model in enumerate(models):
        if _page_token(model.id) == token:
            return position
    raise invalid("page_token", "page_token must be the next_page_token of an earlier page; begin again without it.")


def _model_message(
    provider: Provider, name: str, profile: Profile, warnings: Sequence[str], today: date
) -> model_service_pb2.Model:
    unavailable = provider.backend.unavailable()
    capabilities = model_service_pb2.ModelCapabilities(
        max_n=profile.max_n,
        sizes=[str(size) for size in profile.sizes],
        input_formats=[image_format.value for image_format in profile.input_formats],
        max_input_bytes=min(profile.max_input_bytes, 2**32 - 1),
        max_input_pixels=min(profile.max_input_pixels, 2**32 - 1),
        seed=profile.seed,
        strength=profile.strength,
        quality=profile.quality,
        background=profile.background,
        prompt=profile.prompt.value,
        square_input=profile.square_input,
        sunset_date=profile.sunset.isoformat() if profile.sunset else "",
        available=unavailable is None and (profile.sunset is None or profile.sunset > today),
    )
    price = _price_per_image(profile.price)
    if price is not None:
        capabilities.price_per_image_usd = price
    return model_service_pb2.Model(
        id=f"{provider.name}/{name}",
        object="model",
        created=0,
        owned_by=provider.name,
        capabilities=capabilities,
        warnings=[*([unavailable.message] if unavailable else []), *warnings],
        notes=profile.notes,
    )


def _alias_message(name: str, alias: Alias) -> model_service_pb2.Model:
    return model_service_pb2.Model(
        id=name,
        object="model",
        created=0,
        owned_by="alias",
        targets=[str(weighted.target) for weighted in alias.targets],
    )


def _price_per_image(price: Price | None) -> float | None:
    """The price of one image of 1024 x 1024 pixels, or None where it depends on tokens."""
    if price is None or price.output_image_tokens or price.input_image_tokens:
        return None
    reference = Size(1024, 1024)
    return price.per_image + price.per_request + price.per_megapixel * reference.pixels / _MEGAPIXEL
