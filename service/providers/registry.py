"""Which translator speaks which wire format, by the name that the catalogue and the configuration use.

A provider that speaks another's format is a file of the catalogue, not a row here. A format of somebody's own may come
from an installed package, which names its translator (a class without arguments, or an instance) as an entry point:

    [project.entry-points."image_variations.translators"]
    in_house = "our_models.translator:InHouse"
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType

from service.providers.azure_foundry import AzureFoundryImages
from service.providers.azure_openai import AzureOpenAI
from service.providers.base import Translator
from service.providers.bedrock import BedrockStability
from service.providers.bfl import BlackForestLabs
from service.providers.byteplus import BytePlusSeedream
from service.providers.dashscope import DashScopeImages
from service.providers.fal import FalImages
from service.providers.freepik import FreepikReimagine
from service.providers.gemini import GeminiImages, VertexImages
from service.providers.ideogram import IdeogramRemix
from service.providers.openai_edits import OpenAIEdits
from service.providers.openai_variations import OpenAIVariations
from service.providers.openrouter import OpenRouterImages
from service.providers.recraft import RecraftVariations
from service.providers.replicate import ReplicatePredictions
from service.providers.runware import RunwareImages
from service.providers.sdapi import StableDiffusionImg2Img
from service.providers.stability import StabilityImages
from service.providers.together import TogetherImages
from service.providers.wavespeed import WaveSpeedPredictions
from service.providers.xai_edits import XAIEdits

TRANSLATORS: Mapping[str, Translator] = MappingProxyType(
    {
        "azure_foundry": AzureFoundryImages(),
        "azure_openai": AzureOpenAI(),
        "bedrock": BedrockStability(),
        "bfl": BlackForestLabs(),
        "byteplus": BytePlusSeedream(),
        "dashscope": DashScopeImages(),
        "fal": FalImages(),
        "freepik": FreepikReimagine(),
        "gemini": GeminiImages(),
        "ideogram": IdeogramRemix(),
        "openai_edits": OpenAIEdits(),
        "openai_variations": OpenAIVariations(),
        "openrouter": OpenRouterImages(),
        "recraft": RecraftVariations(),
        "replicate": ReplicatePredictions(),
        "runware": RunwareImages(),
        "sdapi": StableDiffusionImg2Img(),
        "stability": StabilityImages(),
        "together": TogetherImages(),
        "vertex": VertexImages(),
        "wavespeed": WaveSpeedPredictions(),
        "xai_edits": XAIEdits(),
    }
)

ENTRY_POINTS = "image_variations.translators"
"""The group in which packages name translators of their own."""


def translator(name: str) -> Translator:
    """The translator of this name: ours, or one that an installed package brings. A package cannot replace ours.

    Raises:
        LookupError: There is none.
    """
    if name in TRANSLATORS:
        return TRANSLATORS[name]
    for found in entry_points(group=ENTRY_POINTS, name=name):
        made = found.load()
        brought: Translator = made() if isinstance(made, type) else made
        return brought
    raise LookupError(
        f"there is no translator {name!r}: it is none of {', '.join(TRANSLATORS)}, and no installed package names it "
        f"as an entry point of the group {ENTRY_POINTS}"
    )
