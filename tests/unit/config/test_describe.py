from __future__ import annotations

import re
from collections.abc import Callable

import yaml

from service.config import Config, describe

Load = Callable[..., Config]


def lines_of(config: Config) -> dict[str, str]:
    """By ``key: value``, where it came from."""
    pairs = (re.match(r"\s*(?:- )?(\S.*?)\s+# (.*)", line) for line in describe(config).splitlines())
    return {pair[1]: pair[2].rsplit("/", 1)[-1] for pair in pairs if pair}


def test_each_value_says_where_it_came_from(load_text: Load) -> None:
    lines = lines_of(
        load_text(
            "log:\n  level: debug\nlisten:\n  http: 127.0.0.1:1\naliases:\n  best: [local/vary,\n local/relight]\n",
            {"GRPC_PORT": "7"},
        )
    )
    assert lines["level: debug"] == "gateway.yaml:2"
    assert lines["http: 127.0.0.1:1"] == "gateway.yaml:4"
    assert lines["grpc: 127.0.0.1:7"] == "environment GRPC_PORT"
    assert lines["request_bytes: 50MiB"] == "default"
    assert lines["request_timeout: 10m"] == "default"
    assert lines["best: [local/vary, local/relight]"] == "gateway.yaml:6"
    assert lines["dall-e-2: local/vary"] == "default"


def test_secrets_are_masked_and_their_source_is_named(load_text: Load) -> None:
    text = """\
providers:
  fal:
    keys: [sk-hush, "${KEY}"]
    headers: {X-A: sk-hush}
    options: {project: "${KEY}"}
  stability:
    keys:
      - env: KEY
"""
    config = load_text(text, {"KEY": "sk-hush", "OPENAI_API_KEY": "sk-hush"})
    shown = describe(config)
    assert "hush" not in shown
    assert re.search(r"value: \*\*\* +# .*gateway.yaml:3$", shown, re.MULTILINE)
    assert re.search(r"value: \*\*\* +# .*gateway.yaml:3, \$\{KEY\}$", shown, re.MULTILINE)
    assert re.search(r"value: \*\*\* +# .*gateway.yaml:8, environment KEY$", shown, re.MULTILINE)
    assert re.search(r"value: \*\*\* +# environment OPENAI_API_KEY$", shown, re.MULTILINE)
    assert re.search(r'project: "\$\{KEY\}" +# ', shown)


def test_what_is_shown_is_yaml_of_the_same_settings(load_text: Load) -> None:
    config = load_text(
        """
aliases: {w: {policy: weighted, targets: [{model: local/vary, weight: 3}, local/relight]}}
default_prompt: "Odd: #text, 'quoted'"
providers: {fal: {timeout: 30s, models: {m: {sizes: [512x512], price: {per_image: 0.5}}}, options: {a: '1'}}}
allowed_image_url_origins: ["http://127.0.0.1:9"]
"""
    )
    shown = describe(config).replace("(none)", "null").replace("***", "masked")
    assert yaml.safe_load(shown)["providers"]["fal"]["options"] == {"a": "1"}
    again = load_text(shown)
    assert again.model_dump() == config.model_dump()
