from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_backends import STANDARD_POLICY, make_gateway, nothing_to_fetch

from service.concurrency.pools import ImagingPool
from service.gateway.directory import Directory
from service.gateway.gateway import FetchImage, Gateway
from service.routing.route import RoutePolicy


@pytest.fixture
def pool() -> Iterator[ImagingPool]:
    pool = ImagingPool(2)
    yield pool
    pool.close()


@pytest.fixture
def gateway_over(pool: ImagingPool, tmp_path: Path) -> Callable[..., Gateway]:
    """A gateway over a directory of fakes."""

    def make(
        names: Directory, *, fetch: FetchImage = nothing_to_fetch, policy: RoutePolicy = STANDARD_POLICY
    ) -> Gateway:
        return make_gateway(names, pool, tmp_path / "results", fetch=fetch, policy=policy)

    return make
