"""Which translator speaks which wire format, by the name that catalog.yaml and the configuration use.

A provider that speaks another's format is a section of catalog.yaml, not a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.base import Translator

TRANSLATORS: Mapping[str, Translator] = MappingProxyType({})
