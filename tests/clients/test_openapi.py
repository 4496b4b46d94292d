"""The description of the REST surface: whether it is true, and whether other people's generators can use it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_gateway import REPOSITORY, RunningGateway, running_gateway

from .conftest import KEY, skip_without
from .programs import ran

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
SCHEMATHESIS = "schemathesis==4.32.5"
VALIDATOR = "openapi-spec-validator==0.9.0"
TYPESCRIPT = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20")
DOCUMENT = REPOSITORY / "gen" / "openapi" / "openapi.json"
LEAST_CASES = 500

PROGRAM = """
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const headers = { authorization: `Bearer ${process.argv[3]}` };
const client = createClient<paths>({ baseUrl: process.argv[2]!, headers });
const { data, error } = await client.POST("/v1/images/variations", {
  body: { image_url: process.argv[4]!, size: "256x256", n: 2, response_format: "url" },
});
if (error) throw new Error(error.error.message);
const wrong = await client.POST("/v1/images/variations", { body: { image: "AAAA", n: 1 } });
console.log(data.data!.length, data.extra_fields!.provider, wrong.error!.error.code);
"""


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Without credentials, and with a cache, so that a few hundred pictures are not made anew each time."""
    with running_gateway(tmp_path_factory.mktemp("open"), "cache: {enabled: true}\n") as running:
        yield running


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openapi-tools")
    venv.create(directory, with_pip=True)
    ran([directory / "bin" / "python", "-m", "pip", "install", "--quiet", SCHEMATHESIS, VALIDATOR], directory)
    return directory / "bin"


def test_the_document_is_valid(tools: Path) -> None:
    ran([tools / "openapi-spec-validator", DOCUMENT], REPOSITORY)


def test_the_service_does_what_it_says(open_gateway: RunningGateway, tools: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            tools / "schemathesis", "--config-file", HERE / "schemathesis.toml",
            "run", f"{open_gateway.url}/openapi.json", "--phases", "examples,coverage,fuzzing",
            "--max-examples", "130", "--seed", "1", "--request-timeout", "60", "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, "\n".join(line[:600] for line in done.stdout.splitlines())
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases, done.stdout[-2000:]
    assert int(cases[1]) >= LEAST_CASES, done.stdout[-2000:]


def test_a_generator_makes_a_client_that_works(gateway: RunningGateway, tmp_path: Path, photo: Path) -> None:
    skip_without("" if shutil.which("npm") else "npm is not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.ts").write_text(PROGRAM)
    ran(["npm", "install", "--silent", "--no-audit", "--no-fund", *TYPESCRIPT], tmp_path)
    ran(["npx", "openapi-typescript", DOCUMENT, "-o", "api.d.ts"], tmp_path)
    options = ["--strict", "--target", "ES2022", "--module", "NodeNext", "--skipLibCheck"]
    ran(["npx", "tsc", *options, "program.ts"], tmp_path)
    picture = "data:image/gif;base64,R0lGODdhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs="
    done = subprocess.run(
        ["node", "program.js", gateway.url, KEY, picture],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "2 local invalid_image\n"), done.stderr
