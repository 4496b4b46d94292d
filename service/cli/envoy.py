"""Envoy's configuration for one running copy: envoy.yaml with this copy's addresses, limits and time-outs."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import yaml

from service.config import Address, Config

_ROOT = Path(__file__).parents[2]
# The service gives up a little before Envoy does, so that its own, better error is the one that is seen.
_ENVOY_PATIENCE_S = 5.0
# A caller who reads nothing of an answer for that long after the request's time is up has left.
_LONGEST_SILENCE_S = 60.0
# A request may take that long to arrive (request_timeout in envoy.yaml); its own time begins when it has.
_LONGEST_ARRIVAL_S = 300.0
# The service holds each request about three times while it works on it, Envoy once.
_ENVOY_SHARE = 4
# Files that Envoy needs besides connections of callers: its own, and those to the service.
_OTHER_FILES = 256
# Envoy holds requests that wait to be refused by the service besides those that are being worked on.
_REQUESTS_PER_PLACE = 4
_LOOPBACK_OF_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound


def files_allowed() -> int:
    """The number of files that a process of ours may have open; Envoy raises its own limit to that."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def render(config: Config, *, most_files: int | None = None, memory: int | None = None) -> str:
    """The configuration as YAML.

    Args:
        most_files: How many files Envoy may have open: connections beyond that would wait for one for ever. None or
            negative: as many as it likes.
        memory: Bytes that the machine or container has for service and Envoy; Envoy takes a quarter at most. None:
            as much as is configured.

    Raises:
        FileNotFoundError: The installation lacks envoy.yaml or the descriptor set.
    """
    document = yaml.safe_load(_found("envoy.yaml", _ROOT / "envoy.yaml", Path(__file__).parent / "envoy.yaml"))
    connections = config.limits.connections
    if most_files is not None and most_files > 0:
        connections = max(1, min(connections, most_files - _OTHER_FILES))
    most_requests = max(connections, _REQUESTS_PER_PLACE * config.limits.concurrent_requests)
    heap = config.limits.envoy_memory if memory is None else min(config.limits.envoy_memory, memory // _ENVOY_SHARE)
    resources = document["static_resources"]
    _set_address(document["admin"]["address"], config.listen.admin)
    _set_address(resources["listeners"][0]["address"], config.listen.http)
    for cluster in resources["clusters"]:
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
            _set_address(endpoint["endpoint"]["address"], _reachable(config.listen.grpc))
    _set_everywhere(
        document,
        {
            "max_request_body_size": config.limits.request_bytes,
            "max_response_body_size": config.limits.response_bytes,
            "largest_request": config.limits.request_bytes,
            "ask_before_body": _needs_credentials(config),
            "stream_idle_timeout": f"{config.limits.request_timeout + _LONGEST_SILENCE_S:g}s",
            "max_stream_duration": f"{config.limits.request_timeout + _LONGEST_SILENCE_S + _LONGEST_ARRIVAL_S:g}s",
            "max_heap_size_bytes": heap,
            "max_active_downstream_connections": connections,
            "max_requests": most_requests,
            "max_pending_requests": most_requests,
        },
    )
    _find_generated(document)
    timeout = f"{config.limits.request_timeout + _ENVOY_PATIENCE_S:g}s"
    for route in _routes(resources):
        if "route" in route:
            route["route"] = {**route["route"], "timeout": timeout}
    return yaml.safe_dump(document, sort_keys=False)


def _needs_credentials(config: Config) -> bool:
    """Whether strangers are refused, as far as the configuration tells: keys that are made later are not in it."""
    access = config.access
    return bool(access.keys or access.tokens) if access.required is None else access.required


def _found(name: str, *places: Path) -> str:
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{name} is not part of this installation")


def _find_generated(node: Any) -> None:
    """Replaces paths in gen/ by where those files are in this installation."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("proto_descriptor", "filename"):
                node[key] = str(_generated(value.removeprefix("gen/")))
            else:
                _find_generated(value)
    elif isinstance(node, list):
        for each in node:
            _find_generated(each)


def _generated(name: str) -> Path:
    import imagevariations

    package = Path(str(imagevariations.__file__)).parent
    # In a checkout it stands beside gen/python, in a wheel within the package.
    for place in (package.parents[1] / name, package / name):
        if place.is_file():
            return place
    raise FileNotFoundError(f"{name} is not part of this installation; `make gen` makes it")


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
