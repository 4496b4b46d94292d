"""The container's limits, as the kernel writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.concurrency import machine
from service.concurrency.machine import usable_memory_bytes, usable_processors

GIB = 1 << 30
REPOSITORY = Path(__file__).parents[3]


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


def test_every_group_of_version_1_limits_this_process_too(tmp_path: Path) -> None:
    membership = "6:memory:/pods/gateway\n4:cpu,cpuacct:/pods\n1:name=systemd:/elsewhere\n0::/\n"
    written(tmp_path, membership=membership)
    written(tmp_path / "memory", memory_DOT_limit_in_bytes=str(4 * GIB))
    written(tmp_path / "memory/pods/gateway", memory_DOT_limit_in_bytes=str(GIB))
    written(tmp_path / "cpu/pods", cpu_DOT_cfs_quota_us="150000", cpu_DOT_cfs_period_us="100000")
    assert usable_memory_bytes(tmp_path) == GIB
    assert usable_processors(tmp_path) == 2


def test_the_kernel_s_own_limit_is_obeyed() -> None:
    """In a real group, where this machine lets us make one."""
    group = Path("/sys/fs/cgroup/memory") / f"test-{os.getpid()}"
    limit = 512 << 20
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no memory group of version 1 can be made here: {error}")
    code = (
        f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        "from service.config.models import EngineSettings, LimitSettings\n"
        "print(EngineSettings().worker_count, LimitSettings().memory_bytes)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    finally:
        group.rmdir()
    workers, memory = map(int, done.stdout.split())
    assert workers == 1
    assert memory == (limit - (256 << 20)) // 2


def test_a_process_may_open_as_many_files_as_it_can_be_allowed() -> None:
    code = (
        "import resource\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "from service.concurrency.machine import allow_files\n"
        "assert allow_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
