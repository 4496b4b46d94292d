"""The container's limits, as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.concurrency import machine
from service.concurrency.machine import usable_memory_bytes, usable_processors

GIB = 1 << 30


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(32)))


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, 32),
        ({"cpu_DOT_max": "max 100000\n"}, 32),
        ({"cpu_DOT_max": "200000 100000\n"}, 2),
        ({"cpu_DOT_max": "150000 100000\n"}, 2),
        ({"cpu_DOT_max": "10000 100000\n"}, 1),
        ({"cpu__cpu_DOT_cfs_quota_us": "400000\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}, 4),
        ({"cpu__cpu_DOT_cfs_quota_us": "-1\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}, 32),
        ({"cpu_DOT_max": "nonsense"}, 32),
        ({"cpu_DOT_max": "1 0"}, 32),
    ],
)
def test_processors_follow_the_quota(tmp_path: Path, files: dict[str, str], processors: int) -> None:
    assert usable_processors(written(tmp_path, **files)) == processors


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory_DOT_max": "max\n"}, None),
        ({"memory_DOT_max": f"{GIB}\n"}, GIB),
        ({"memory__memory_DOT_limit_in_bytes": f"{GIB // 2}\n"}, GIB // 2),
        ({"memory__memory_DOT_limit_in_bytes": f"{(1 << 63) - 4096}\n"}, None),
    ],
)
def test_memory_follows_the_limit(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    unlimited = usable_memory_bytes(tmp_path / "nothing")
    assert usable_memory_bytes(written(tmp_path, **files)) == (limit or unlimited)


def test_every_group_around_this_process_limits_it(tmp_path: Path) -> None:
    written(tmp_path, membership="0::/system.slice/gateway.service\n", memory_DOT_max="max")
    written(tmp_path / "system.slice", memory_DOT_max=str(2 * GIB))
    written(tmp_path / "system.slice/gateway.service", memory_DOT_max=str(3 * GIB), cpu_DOT_max="300000 100000")
    assert usable_memory_bytes(tmp_path) == 2 * GIB
    assert usable_processors(tmp_path) == 3
