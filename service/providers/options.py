"""Request bodies with the caller's ``provider_options`` in them, and the refusal of options that are the gateway's.

What a request costs, which model makes it, how many images it makes and where the answer goes was decided, checked
against the caller's allow-lists and reserved from the caller's budget before a translator is asked. An option that
said otherwise would be paid for all the same, so it is refused. Refused are, at any depth of the options:

* every field that the translator gives, set or left out (None), unless it calls the field a default;
* every name in ``_FIELD_OF``, which lists how vendors spell the request's own fields, whether or not this
  translator sends it: a vendor may know several spellings.

So a translator's new field is protected from the day it is there, and nothing has to be kept in step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from service.core.errors import ErrorKind, GatewayError
from service.providers.http import FormBody, FormFile, JsonBody

_SPELLINGS: Mapping[str, str] = {
    "model": """model model_id model_name model_version version deployment checkpoint sd_model_checkpoint service_tier
        task_type""",
    "n": """n count num_images num_image num_outputs num_output number_results number_of_images num_samples
        num_variations batch_size batch_count n_iter image_count images_count candidate_count sample_count max_images
        sequential_image_generation""",
    "size": """size image_size output_size target_size width height output_width output_height aspect_ratio ratio
        resolution output_resolution megapixels output_megapixels custom_width custom_height""",
    "image": """image images image_url image_urls image_base64 image_data image_file image_input image_prompt
        image_prompt_url input input_image input_images input_image_url input_references init_image init_images
        init_image_url source_image source_image_url seed_image start_image reference_image reference_images
        reference_image_url reference_image_urls redux_image redux_image_url style_image control_image contents
        messages""",
    "prompt": "prompt text_prompt positive_prompt prompts",
    "seed": "seed random_seed seeds",
    "strength": """strength denoising_strength image_strength prompt_strength image_prompt_strength image_weight
        control_strength change_strength fidelity imagination""",
    "quality": "quality rendering_speed",
    "background": "background",
    "output_format": "output_format image_format output_mime_type mime_type response_mime_type",
    "response_format": """response_format output_type sync_mode return_base64 enable_base64_output base64_response
        response_modalities response_type delivery_method""",
    "user": "user user_id end_user end_user_id safety_identifier",
    # There is no field to use instead.
    "": """mask masks mask_url mask_image mask_image_url mask_prompt mask_base64
        webhook webhook_url webhook_secret webhook_events_filter callback callback_url callback_uri notify_url
        notify_hook async async_mode enable_sync_mode stream partial_images dry_run include_cost include_usage task_uuid
        upload_endpoint""",
}


def _normal(name: str) -> str:
    """``num_images``, ``numImages``, ``num-images`` and ``num_images[0]`` are one name, and so is ``num_images_2``."""
    return re.sub(r"[^a-z0-9]", "", name.partition("[")[0].casefold()).rstrip("0123456789")


_FIELD_OF: Mapping[str, str] = {_normal(name): field for field, names in _SPELLINGS.items() for name in names.split()}


def json_body(
    fields: Mapping[str, Any], options: Mapping[str, Any], *, defaults: Collection[str] = frozenset()
) -> JsonBody:
    """A JSON body of ``fields`` and the caller's options; None values are left out.

    Objects are merged key by key, so that setting a temperature does not unset what else is in its object.

    Args:
        defaults: Those of ``fields`` that an option may replace.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_provider_options`` for an option that is the gateway's to set.
    """
    laid_over = _laid_over(fields, options, defaults)
    return JsonBody({name: value for name, value in laid_over.items() if value is not None})


def form_body(
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
    files: tuple[FormFile, ...] = (),
    *,
    defaults: Collection[str] = frozenset(),
) -> FormBody:
    """A multipart form of ``fields``, the caller's options and ``files``, whose names are the gateway's too.

    None is left out, booleans are ``true`` and ``false``, a list repeats its field, an object is sent as JSON.

    Args:
        defaults: Those of ``fields`` that an option may replace.

    Raises:
        GatewayError: INVALID_REQUEST ``invalid_provider_options`` for an option that is the gateway's to set.
    """
    taken = {file.name: None for file in files}
    texts = tuple(
        (name, item if isinstance(item, str) else json.dumps(item))
        for name, value in _laid_over({**taken, **fields}, options, defaults).items()
        for item in (value if isinstance(value, list | tuple) else (value,))
        if item is not None
    )
    return FormBody(texts, files)


def refused(path: str, advice: str = "") -> GatewayError:
    """The error for an option that is the gateway's to set.

    Args:
        path: The option's name, with the names of the objects that it is in, such as ``generationConfig.seed``.
        advice: Ends the sentence. Empty: names the request's field that stands for it, if there is one.
    """
    if not advice:
        instead = _FIELD_OF.get(_normal(path.rpartition(".")[2]), "")
        advice = f"use the request's field {instead!r}" if instead else "the gateway sets it itself"
    return GatewayError(
        ErrorKind.INVALID_REQUEST,
        f"provider_options cannot set {path[:100]!r}: {advice}.",
        code="invalid_provider_options",
        param="provider_options",
        may_have_run=False,
    )


def _laid_over(
    fields: Mapping[str, Any], options: Mapping[str, Any], defaults: Collection[str], inside: str = ""
) -> Mapping[str, Any]:
    taken = {_normal(name): name for name in fields}
    result = dict(fields)
    for name, value in options.items():
        path = f"{inside}{name}"
        own = taken.get(_normal(name))
        below = fields.get(name)
        if own is not None and own not in defaults:
            # Another spelling of an own field would stand beside it, and the vendor would choose.
            if not (isinstance(below, Mapping) and isinstance(value, Mapping)):
                raise refused(path)
            result[name] = _laid_over(below, value, (), f"{path}.")
            continue
        if own is None and _normal(name) in _FIELD_OF:
            raise refused(path)
        _check_inside(value, path)
        result[name] = value
    return result


def _check_inside(value: object, path: str) -> None:
    """Refuses the gateway's names in objects and lists of an option; how deep they go the request's limits say."""
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, Mapping):
            continue
        for name, inner in item.items():
            if _normal(str(name)) in _FIELD_OF:
                raise refused(f"{path}.{name}")
            _check_inside(inner, f"{path}.{name}")
