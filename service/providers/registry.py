"""Which translator speaks which wire format, by the name that catalog.yaml and the configuration use.

A provider that speaks another's format is a section of catalog.yaml, not a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.providers.azure_openai import AzureOpenAI
from service.providers.base import Translator
from service.providers.bedrock import BedrockStability
from service.providers.bfl import BlackForestLabs
from service.providers.fal import FalImages
from service.providers.gemini import GeminiImages, VertexImages
from service.providers.ideogram import IdeogramRemix
from service.providers.openai_edits import OpenAIEdits
from service.providers.openai_variations import OpenAIVariations
from service.providers.recraft import RecraftVariations
from service.providers.replicate import ReplicatePredictions
from service.providers.sdapi import StableDiffusionImg2Img
from service.providers.stability import StabilityImages
from service.providers.xai_edits import XAIEdits

TRANSLATORS: Mapping[str, Translator] = MappingProxyType(
    {
        "azure_openai": AzureOpenAI(),
        "bedrock": BedrockStability(),
        "bfl": BlackForestLabs(),
        "fal": FalImages(),
        "gemini": GeminiImages(),
        "ideogram": IdeogramRemix(),
        "openai_edits": OpenAIEdits(),
        "openai_variations": OpenAIVariations(),
        "recraft": RecraftVariations(),
        "replicate": ReplicatePredictions(),
        "sdapi": StableDiffusionImg2Img(),
        "stability": StabilityImages(),
        "vertex": VertexImages(),
        "xai_edits": XAIEdits(),
    }
)
