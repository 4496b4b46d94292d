"""Lists facts of the catalogue to look at: old ones, models at their end, prices that LiteLLM's table has otherwise.

    python tools/catalog_check.py [--older-than 60] [--prices model_prices_and_context_window.json]

The price table is that of an installed ``litellm``, if there is one. It is second-hand, so a difference is a reason to
look the price up and no more. Ends with 1 when there is anything to look at.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from service.catalog import catalog
from service.catalog.catalog import ProviderEntry
from service.catalog.profile import Price, Profile

_TABLE = "model_prices_and_context_window_backup.json"
_SUNSET_NOTICE = timedelta(days=60)

# Where LiteLLM lists a provider's models; of several, the first that has the model.
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "openai": ("",),
    "azure": ("azure/",),
    "azure-foundry": ("azure_ai/",),
    "xai": ("xai/",),
    "gemini": ("gemini/",),
    "vertex": ("vertex_ai/", ""),
    "bedrock": ("",),
    "stability": ("stability/",),
    "recraft": ("recraft/",),
    "fal": ("fal_ai/",),
    "replicate": ("replicate/",),
    "bfl": ("black_forest_labs/",),
    "dashscope": ("dashscope/",),
}

# Its columns for the terms of our prices: in USD, and per token where ours are per million tokens.
_PER_IMAGE = ("output_cost_per_image", "input_cost_per_image")
_PER_TOKEN: Mapping[str, str] = {
    "input_text_tokens": "input_cost_per_token",
    "input_image_tokens": "input_cost_per_image_token",
    "output_image_tokens": "output_cost_per_image_token",
}


def old(entries: Mapping[str, ProviderEntry], today: date, days: int) -> Iterator[str]:
    """A line for each model whose facts were compared with their source longer ago than this, or never."""
    for name, profile in _models(entries):
        if profile.checked is None or (today - profile.checked).days > days:
            yield f"{name}: checked {profile.checked or 'never'} against: {profile.source or 'no source'}"


def ending(entries: Mapping[str, ProviderEntry], today: date) -> Iterator[str]:
    """A line for each model that has ended or is about to."""
    for name, profile in _models(entries):
        if profile.sunset is not None and profile.sunset <= today + _SUNSET_NOTICE:
            yield f"{name}: {'ended' if profile.sunset <= today else 'ends'} {profile.sunset}"


def differing(entries: Mapping[str, ProviderEntry], table: Mapping[str, Any]) -> Iterator[str]:
    """A line for each price or end that LiteLLM's table has otherwise."""
    for name, profile in _models(entries):
        provider, _, model = name.partition("/")
        theirs = next(
            (table[f"{each}{model}"] for each in _PREFIXES.get(provider, ()) if f"{each}{model}" in table), None
        )
        if isinstance(theirs, Mapping):
            yield from (f"{name}: {difference}" for difference in _differences(profile, theirs))


def _differences(profile: Profile, theirs: Mapping[str, Any]) -> Iterator[str]:
    ours = profile.price or Price()
    per_image = next((theirs[column] for column in _PER_IMAGE if isinstance(theirs.get(column), int | float)), None)
    if per_image and not ours.output_image_tokens and abs(per_image - ours.per_image) > 1e-9:
        yield f"{ours.per_image:g} an image here, {per_image:g} there"
    for term, column in _PER_TOKEN.items():
        price = theirs.get(column)
        here = getattr(ours, term)
        if here and isinstance(price, int | float) and abs(price * 1e6 - here) > 1e-6:
            yield f"{term} {here:g} a million here, {price * 1e6:g} there"
    end = theirs.get("deprecation_date")
    if isinstance(end, str) and end != str(profile.sunset):
        yield f"ends {profile.sunset or 'never'} here, {end} there"


def _models(entries: Mapping[str, ProviderEntry]) -> Iterator[tuple[str, Profile]]:
    for name, entry in entries.items():
        for model, profile in entry.models.items():
            yield f"{name}/{model}", profile


def _price_table(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        # Found and not imported: its import takes seconds and needs much that is not installed here.
        found = importlib.util.find_spec("litellm")
        folders = found.submodule_search_locations if found else None
        path = Path(folders[0]) / _TABLE if folders else None
    if path is None or not path.exists():
        return {}
    table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


def main() -> int:
    """Prints what there is to look at, by its reason."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--older-than", type=int, default=60, metavar="DAYS")
    parser.add_argument("--prices", type=Path, metavar="FILE", help="LiteLLM's table; default: an installed litellm's")
    arguments = parser.parse_args()
    entries, today = catalog.load(), date.today()  # noqa: DTZ011  # the day where the reader is
    table = _price_table(arguments.prices)
    sections = {
        f"Not checked for {arguments.older_than} days": list(old(entries, today, arguments.older_than)),
        "At their end": list(ending(entries, today)),
        "Otherwise in LiteLLM's table": list(differing(entries, table)),
    }
    for title, lines in sections.items():
        sys.stdout.write(f"{title}: {len(lines) or 'none'}\n" + "".join(f"  {line}\n" for line in lines))
    if not table:
        sys.stdout.write("No price table of LiteLLM is here: pip install litellm, or name one with --prices.\n")
    return 1 if any(sections.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
