"""Writes a software bill of materials (CycloneDX 1.6, JSON) of a Python environment.

    python tools/sbom.py ENVIRONMENT/bin/python OUTPUT

It holds names, versions, licences and the packages' own web pages. Where they were installed from is left out: that is
the builder's affair, and an address may hold a credential.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_WHERE_FROM = frozenset(("distribution", "distribution-intake"))


def written(python: Path, output: Path) -> int:
    """Writes the document to ``output``; returns the number of its components.

    Raises:
        subprocess.CalledProcessError: The environment cannot be read.
    """
    options = [
        "--pyproject",
        str(_PROJECT),
        "--output-reproducible",
        "--spec-version",
        "1.6",
        "--output-format",
        "JSON",
    ]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options, str(python)]
    document = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    for component in (document["metadata"]["component"], *document["components"]):
        _leave_out_where_from(component)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return len(document["components"])


def _leave_out_where_from(component: dict[str, Any]) -> None:
    kept = [each for each in component.get("externalReferences", ()) if each["type"] not in _WHERE_FROM]
    if kept:
        component["externalReferences"] = kept
    else:
        component.pop("externalReferences", None)


if __name__ == "__main__":
    print(f"{sys.argv[2]}: {written(Path(sys.argv[1]), Path(sys.argv[2]))} components")
