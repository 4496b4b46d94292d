"""Envoy's configuration for one running copy: envoy.yaml with this copy's addresses, limits and time-outs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from service.config import Address, Config

_ROOT = Path(__file__).parents[2]
# The service gives up a little before Envoy does, so that its own, better error is the one that is seen.
_ENVOY_PATIENCE_S = 5.0
# Whoever reads nothing of an answer for that long after the request's time is up has left.
_LONGEST_SILENCE_S = 60.0
_LOOPBACK_OF_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound


def render(config: Config) -> str:
    """The configuration as YAML.

    Raises:
        FileNotFoundError: The installation lacks envoy.yaml or the descriptor set.
    """
    document = yaml.safe_load(_found("envoy.yaml", _ROOT / "envoy.yaml", Path(__file__).parent / "envoy.yaml"))
    resources = document["static_resources"]
    _set_address(document["admin"]["address"], config.listen.admin)
    _set_address(resources["listeners"][0]["address"], config.listen.http)
    for cluster in resources["clusters"]:
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
            _set_address(endpoint["endpoint"]["address"], _reachable(config.listen.grpc))
    _set_everywhere(
        document,
        {
            "proto_descriptor": str(_descriptor_set()),
            "max_request_body_size": config.limits.request_bytes,
            "max_response_body_size": config.limits.response_bytes,
            "stream_idle_timeout": f"{config.limits.request_timeout + _LONGEST_SILENCE_S:g}s",
        },
    )
    timeout = f"{config.limits.request_timeout + _ENVOY_PATIENCE_S:g}s"
    for route in _routes(resources):
        if "route" in route:
            route["route"] = {**route["route"], "timeout": timeout}
    return yaml.safe_dump(document, sort_keys=False)


def _found(name: str, *places: Path) -> str:
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{name} is not part of this installation")


def _descriptor_set() -> Path:
    import imagevariations

    package = Path(str(imagevariations.__file__)).parent
    # In a checkout it stands beside gen/python, in a wheel within the package.
    for place in (package.parents[1] / "imagevariations.binpb", package / "imagevariations.binpb"):
        if place.is_file():
            return place
    raise FileNotFoundError("imagevariations.binpb is not part of this installation; `make gen` makes it")


def _set_address(place: dict[str, Any], address: Address) -> None:
    place["socket_address"] = {"address": address.host, "port_value": address.port}


def _reachable(address: Address) -> Address:
    return Address(_LOOPBACK_OF_ANY.get(address.host, address.host), address.port)


def _set_everywhere(node: Any, values: dict[str, Any]) -> None:
    if isinstance(node, dict):
        for key in node:
            if key in values:
                node[key] = values[key]
            else:
                _set_everywhere(node[key], values)
    elif isinstance(node, list):
        for each in node:
            _set_everywhere(each, values)


def _routes(resources: dict[str, Any]) -> list[dict[str, Any]]:
    connection_manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = connection_manager["route_config"]["virtual_hosts"][0]["routes"]
    assert isinstance(routes, list)
    return routes
