"""Reads the catalogue's files: one a provider in ``data/``, and a file of the operator's laid over them.

The reading is strict, so that a typing mistake in a fact is found by the first test and not by a customer.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

_ORDER = "_order.yaml"


@functools.cache
def shipped() -> Mapping[str, Any]:
    """The sections that ship with the service, by provider, in the order of ``_order.yaml``; the others follow."""
    directory = importlib.resources.files(__package__) / "data"
    files = {file.name.removesuffix(".yaml"): file for file in directory.iterdir() if file.name.endswith(".yaml")}
    order = read((directory / _ORDER).read_text(encoding="utf-8"), _ORDER)
    del files[_ORDER.removesuffix(".yaml")]
    if not isinstance(order, list) or set(order) - set(files):
        raise ValueError(f"{_ORDER}: must be a list of files of its directory, without .yaml")
    names = [*dict.fromkeys(order), *sorted(set(files) - set(order))]
    return {name: read(files[name].read_text(encoding="utf-8"), name) for name in names}


def overlay(path: Path) -> Mapping[str, Any]:
    """The operator's own sections: providers, each with the keys that differ from ours.

    Raises:
        ValueError: The file cannot be read, or is no mapping of providers.
    """
    try:
        document = read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if not isinstance(document, Mapping):
        raise ValueError(f"{path}: must be a mapping of providers")
    return document


def laid_over(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``base``, mapping by mapping, but for prices: a price is one fact and replaced as a whole."""
    result = dict(base)
    for key, value in above.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and key != "price":
            value = laid_over(below, value)
        result[key] = value
    return result


def read(text: str, where: str) -> Any:
    """The YAML document in ``text``.

    Raises:
        ValueError: It is no YAML, names a type that is none of YAML's own, or repeats a key.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {error}") from error


class _Loader(yaml.SafeLoader):
    """A SafeLoader that does not let a repeated key win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated!r} is repeated", node.start_mark)
        return super().construct_mapping(node, deep)
