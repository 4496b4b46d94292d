"""Loading any file at all ends in a Config or in a ConfigError that shows no secret."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.config import Config, ConfigError, describe, load
from service.config.providers import KeySettings, ProviderSettings

SECRET = "sk-hush-0123456789"
KEYS = sorted({*Config.model_fields, *ProviderSettings.model_fields, *KeySettings.model_fields, "openai", "grpc", "a"})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["local/vary", "openai/x", "a", "${SECRET}", "http://127.0.0.1:1", "127.0.0.1:1", "10m", "[::]:1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=20,
)


def outcome(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "gateway.yaml"
        file.write_bytes(data)
        try:
            config = load(file, {"SECRET": SECRET, "OPENAI_API_KEY": SECRET})
        except ConfigError as error:
            return str(error)
        return describe(config) + repr(config.providers) + "\n".join(config.warnings)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
@example({"providers": {"openai": {"keys": "${SECRET}", "headers": {"a": "${SECRET}"}, "options": ["${SECRET}"]}}})
@example({"aliases": {"${SECRET}": "a", "a": "${SECRET}"}, "default_route": "${SECRET}"})
def test_any_settings_are_understood_or_explained(values: dict[str, object]) -> None:
    assert SECRET not in outcome(yaml.safe_dump(values).encode())


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t${}", max_size=80).map(str.encode))
)
def test_any_bytes_are_understood_or_explained(data: bytes) -> None:
    assert SECRET not in outcome(data)
