"""The unmodified OpenAI SDK for Node against the gateway."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from running_gateway import RunningGateway


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_node_sdk(gateway: RunningGateway, small_png: bytes, node_directory: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(small_png)
    ran = subprocess.run(
        ["node", "images.mjs", f"{gateway.url}/v1", str(photo)],
        cwd=node_directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)

    assert results["one"]["index"] == 0
    assert results["one"]["url"].startswith(gateway.url)
    assert isinstance(results["one"]["created"], int)
    for size in ("256x256", "512x512", "1024x1024"):
        (data,) = results[size]
        assert "{}x{}".format(*Image.open(io.BytesIO(base64.b64decode(data))).size) == size
    assert len(set(results["ten"])) == 10
    # The form of the fallbacks is understood; the request names no model, and is told which one answered.
    assert results["fallbacks"]["warnings"] == ["No model was named: the default route answered, with local/vary."]
    assert results["errors"] == [
        {"kind": "bad request", "status": 400, "code": "invalid_n", "param": "n"},
        {"kind": "bad request", "status": 400, "code": "invalid_size", "param": "size"},
        {"kind": "not found", "status": 404, "code": "model_not_found", "param": "model"},
    ]
