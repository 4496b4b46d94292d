"""The README's examples, run as they stand: only the addresses are those of the gateway under test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running_gateway import REPOSITORY, RunningGateway

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# Examples that start something, or need a key, are not for here.
EXAMPLES = [
    (language, code)
    for language, code in re.findall(r"```(sh|python|js)\n(.*?)```", README, re.DOTALL)
    if "make " not in code
]


def test_there_are_examples_in_each_language() -> None:
    assert {language for language, _ in EXAMPLES} == {"sh", "python", "js"}
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(
    ("language", "code"), EXAMPLES, ids=[f"{number}-{language}" for number, (language, _) in enumerate(EXAMPLES)]
)
def test_an_example_works(
    gateway: RunningGateway, node_directory: Path, tmp_path: Path, language: str, code: str
) -> None:
    code = code.replace("http://localhost:8080", gateway.url).replace("localhost:50051", gateway.grpc)
    # The examples write to out/ and read samples/: in a directory of their own, beside nothing of ours.
    (tmp_path / "samples").symlink_to(REPOSITORY / "samples")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    # A wrapper, as a symbolic link would lose the environment that the interpreter belongs to.
    wrapper = tmp_path / ".venv" / "bin" / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    if language == "js":
        if shutil.which("node") is None:
            pytest.skip("Node is not installed")
        script = tmp_path / "example.mjs"
        script.write_text(code)
        (tmp_path / "node_modules").symlink_to(node_directory / "node_modules")
        command = ["node", str(script)]
    elif language == "python":
        command = [sys.executable, "-W", "ignore", "-c", code]
    else:
        command = ["bash", "-euo", "pipefail", "-c", code.replace("curl ", "curl --fail-with-body --silent ")]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'gen' / 'python'}",
            "GRPC_PORT": gateway.grpc.rpartition(":")[2],
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.strip()
