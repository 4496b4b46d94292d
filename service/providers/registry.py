"""Which translator speaks which wire format, by the name that catalog.yaml and the configuration use.

A provider that speaks another's format is a section of catalog.yaml, not a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.base import Translator
from service.providers.bedrock import BedrockStability
from service.providers.gemini import GeminiImages, VertexImages
from service.providers.ideogram import IdeogramRemix
from service.providers.stability import StabilityImages

TRANSLATORS: Mapping[str, Translator] = MappingProxyType(
    {
        "bedrock": BedrockStability(),
        "gemini": GeminiImages(),
        "ideogram": IdeogramRemix(),
        "stability": StabilityImages(),
        "vertex": VertexImages(),
    }
)
