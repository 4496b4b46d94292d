"""``gateway.yaml`` and the environment, read into frozen values; what is wrong is told with file, line and key."""

from service.config.describe import describe
from service.config.fields import Address
from service.config.load import load
from service.config.models import EMBEDDED_PROVIDER, AliasSettings, AliasTarget, Config, parse_target
from service.config.problems import ConfigError, Problem
from service.config.providers import KeySettings, ProfileOverrides, ProviderSettings

__all__ = [
    "EMBEDDED_PROVIDER",
    "Address",
    "AliasSettings",
    "AliasTarget",
    "Config",
    "ConfigError",
    "KeySettings",
    "Problem",
    "ProfileOverrides",
    "ProviderSettings",
    "describe",
    "load",
    "parse_target",
]
