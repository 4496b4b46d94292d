"""The peers: LiteLLM and Portkey, each in its own environment under ``.bench/`` (``make bench-peers``), as it comes.

Versions are pinned in ``peers/``. Neither routes images/variations as such: Portkey routes the path for the provider
that a header names; LiteLLM passes it through as it is, and routes images/edits only, so both are measured of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.processes import answers, family, free_ports, running, wait_until
from bench.systems import REPOSITORY, System

ENVIRONMENTS = REPOSITORY / ".bench"
_FILES = Path(__file__).parent / "peers"
_LITELLM = ENVIRONMENTS / "litellm" / "bin" / "litellm"
_PORTKEY = ENVIRONMENTS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_LITELLM_KEY = "sk-3b0c9a47d2f1485e96c7a8e4d5f60b12"
_STARTS_WITHIN_S = 180.0


def require_installed() -> None:
    """Ends the program with how to install the peers where they are missing."""
    if not (_LITELLM.exists() and _PORTKEY.exists()):
        raise SystemExit("The peers are not installed: `make bench-peers` installs them (about 1.5 GB).")


@contextlib.contextmanager
def litellm(upstream_url: str, directory: Path) -> Iterator[System]:
    """LiteLLM's proxy with one worker; the value is its routed images/edits. ``passing_through`` is the other path."""
    (port,) = free_ports(1)
    configuration = directory / "litellm.yaml"
    configuration.write_text((_FILES / "litellm.yaml").read_text().replace("UPSTREAM", upstream_url))
    environment = {
        "LITELLM_MASTER_KEY": _LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
    }
    command = [
        str(_LITELLM),
        *("--config", str(configuration), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    ]
    with running(command, directory / "litellm.log", cwd=directory, environment=environment) as pid:
        wait_until(lambda: answers(port), "LiteLLM does not answer", within_s=_STARTS_WITHIN_S)
        headers = {"authorization": f"Bearer {_LITELLM_KEY}"}
        yield System("litellm", f"http://127.0.0.1:{port}/v1/images/edits", {"all": family(pid)}, headers=headers)


def passing_through(routed: System) -> System:
    """LiteLLM's images/variations, which it hands on untouched: no routing, no retries, no key of the provider."""
    url = routed.url.replace("/images/edits", "/images/variations")
    return System("litellm-pass-through", url, routed.processes, headers=routed.headers)


@contextlib.contextmanager
def portkey(upstream_url: str, directory: Path) -> Iterator[System]:
    """Portkey's gateway, one process, without its pages."""
    (port,) = free_ports(1)
    environment = {
        "NODE_ENV": "production",
        # Its guard against requests to inner addresses would refuse the upstream.
        "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost",
    }
    command = [
        *("node", "--require", str(_FILES / "only_loopback.cjs")),
        *(str(_PORTKEY), "--headless", f"--port={port}"),
    ]
    with running(command, directory / "portkey.log", cwd=directory, environment=environment) as pid:
        wait_until(lambda: answers(port), "Portkey does not answer", within_s=_STARTS_WITHIN_S)
        headers = {
            "authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream_url}/v1",
        }
        url = f"http://127.0.0.1:{port}/v1/images/variations"
        yield System("portkey", url, {"all": family(pid)}, headers=headers)
